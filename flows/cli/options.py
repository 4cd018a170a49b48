"""Options that several commands of `brmrs` take, the same everywhere."""

import json
from pathlib import Path
from typing import Annotated

import typer

ConfigFile = Annotated[Path, typer.Option("--config", "-c", help="Configuration file (YAML).")]
ConfigFiles = Annotated[
    list[Path],
    typer.Option("--config", "-c", help="Configuration file (YAML); repeatable, later files win."),
]
Overrides = Annotated[
    list[str],
    typer.Option("--set", metavar="SECTION.FIELD=VALUE", help="Set a field; repeatable."),
]
Artifacts = Annotated[
    Path, typer.Option(envvar="BRMRS_ARTIFACTS", help="Folder of the artifact store.")
]
STORE = Path("artifacts")
Plugins = Annotated[
    list[Path],
    typer.Option(
        "--plugin",
        metavar="FILE",
        help="Python file that registers a model, metric, ...; repeat.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def with_plugins(overrides: list[str], plugins: list[Path]) -> list[str]:
    """The overrides of `--set` and `--plugin` together."""
    return [*overrides, *(f"plugins={json.dumps(str(file))}" for file in plugins)]
