"""Options that several commands of `brmrs` take, the same everywhere."""

from pathlib import Path
from typing import Annotated

import typer

ConfigFile = Annotated[Path, typer.Option("--config", "-c", help="YAML file of the configuration.")]
ConfigFiles = Annotated[
    list[Path],
    typer.Option("--config", "-c", help="YAML file of the configuration; repeat, the later wins."),
]
Overrides = Annotated[
    list[str], typer.Option("--set", metavar="SECTION.FIELD=VALUE", help="Set one field; repeat.")
]
Artifacts = Annotated[Path, typer.Option(help="Root of the artifact store.")]
STORE = Path("artifacts")
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
