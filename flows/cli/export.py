"""The command `brmrs export`."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from brmrs.export.targets import Form, Target
from brmrs.store.artifacts import ArtifactStore
from flows.cli.chosen import chosen
from flows.cli.console import console, line
from flows.cli.options import STORE, Artifacts, AsJson
from flows.cli.recommend import Data, RunName
from flows.cli.tables import print_json

app = typer.Typer()
out = console()
LISTED = 20  # files of one folder


@app.command()
def export(
    to: Annotated[Target, typer.Option(help="What to export, or the toolbox that reads it.")],
    folder: Annotated[Path, typer.Option("--out", help="A new or empty folder.")],
    run_name: RunName = None,
    data: Data = None,
    form: Annotated[
        Form | None, typer.Option("--format", help="Of recommendations; default: parquet.")
    ] = None,
    as_json: AsJson = False,
    artifacts: Artifacts = STORE,
) -> None:
    """Write a run's vectors, recommendations, or its data for another toolbox, into a folder."""
    from brmrs.errors import UserError
    from brmrs.export.write import export as write
    from brmrs.serving.current import ANSWERING, serving
    from brmrs.system import progress

    if form is not None and to != Target.RECOMMENDATIONS:
        raise UserError(f"--format has no effect with --to {to}; leave it out")
    store = ArtifactStore(artifacts)
    run = serving(store, data) if run_name is None else chosen(store, run_name, *ANSWERING)
    with progress.shown(console(stderr=True)):
        done = write(run, store, to, folder, form or Form.PARQUET)
    if as_json:
        print_json(done)
        return
    line(out, f"{to} of run {run.name} in {folder}")
    for name in listed(done["files"]):
        line(out, f"  {name}")
    for note in done["notes"]:
        line(out, ("note: ", "yellow"), note)


def listed(files: Sequence[str]) -> list[str]:
    """The files; of a folder with more than `LISTED` of them, the folder and their number."""
    sizes = Counter(str(Path(name).parent) for name in files)
    lines = []
    for name in files:
        folder = str(Path(name).parent)
        many = sizes[folder] > LISTED
        lines.append(f"{folder}/ ({sizes[folder]:,} files)" if many else name)
    return list(dict.fromkeys(lines))
