"""The command `brmrs init`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli.console import console, line
from flows.cli.options import AsJson
from flows.cli.tables import print_json
from flows.cli.tables_inspect import columns_of

app = typer.Typer()
out = console()


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Folder with your tables, dumps and pictures.")],
    as_json: AsJson = False,
) -> None:
    """Look at the files of a folder and write a configuration for them, FOLDER/brmrs.yaml."""
    from brmrs.propose.write import propose
    from brmrs.system import progress

    with progress.shown(console(stderr=True)):
        found = propose(folder)
    if as_json:
        print_json(found)
    else:
        _show(found)


def _show(found: dict[str, Any]) -> None:
    facts = found["facts"]
    for field, files in found["files"].items():
        line(out, f"{field}: {', '.join(files)}")
    for listed in columns_of(found):
        line(out, f"  {listed}")
    if found["pictures"]["files"]:
        line(out, f"pictures: {found['pictures']['files']:,} in {found['pictures']['folder']}")
    sizes = (f"{facts[name]:,} {name}" for name in ("interactions", "users", "items"))
    line(out, f"found {', '.join(sizes)}")
    for kind in ("reviews", "metadata"):
        for reason, count in sorted(facts[kind]["quarantined"].items()):
            line(out, (f"{count:,} unusable: ", "yellow"), reason)
    for path, reason in found["chosen"].items():
        line(out, ("set: ", "yellow"), f"{path}: {reason}")
    for file, columns in found["suggested"].items():
        listed = ", ".join(columns)
        line(
            out,
            ("note: ", "yellow"),
            f"columns of words in {file}: {listed}; to use them, add them to ingest.columns.text",
        )
    for file, reason in found["ignored"].items():
        line(out, ("not used: ", "yellow"), f"{file}: {reason}")
    line(out, f"wrote {found['file']}; next: brmrs run -c {found['file']}")
