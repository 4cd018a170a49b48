"""The command `brmrs config`."""

import sys
import textwrap
from typing import Annotated

import typer

from flows.cli.options import AsJson, Plugins
from flows.cli.tables import print_json

app = typer.Typer()
WIDTH = 80
INTRODUCTION = """\
Every field of the configuration, with its default. In YAML, indent a field
below its section; on the command line, write --set SECTION.FIELD=VALUE. Paths
in a YAML file are relative to that file, all others to the working directory.
"""


@app.command()
def config(
    section: Annotated[
        str | None,
        typer.Argument(help="A section or field, such as train or graphs.beta, or a model's name."),
    ] = None,
    plugins: Plugins = [],  # noqa: B006 - Typer reads the default, nothing changes it
    as_json: AsJson = False,
    as_schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON schema of YAML files, for editors.")
    ] = False,
) -> None:
    """Print every field of the configuration: meaning, unit, values, default."""
    from brmrs.config.describe import rows
    from brmrs.config.pipeline import PipelineConfig
    from brmrs.config.schema import schema

    if as_schema:
        print_json(schema(PipelineConfig))
        return
    found = list(rows(PipelineConfig, section, plugins))
    if as_json:
        print_json([row._asdict() for row in found])
        return
    lines = [] if section else [INTRODUCTION]
    for row in found:
        if row.type == "section":
            blank = [""] if lines else []
            lines += [*blank, row.path.upper(), *_wrapped(row.meaning, "")]
        else:
            lines += [*_wrapped(f"{row.path}: {row.default}   ({row.type})", "")]
            lines += _wrapped(row.meaning, "    ")
    sys.stdout.write("\n".join(lines) + "\n")


def _wrapped(text: str, indent: str) -> list[str]:
    """Lines of a text; those after the first have four spaces more."""
    following = indent or "    "
    return textwrap.wrap(
        text, WIDTH, initial_indent=indent, subsequent_indent=following, break_on_hyphens=False
    )
