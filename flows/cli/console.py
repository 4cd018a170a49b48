"""How the commands show things: no name and no number is ever cut."""

import os
from typing import Any

from rich.console import Console
from rich.table import Column, Table

WIDTH = 160  # of a pipe or a file, which have none of their own


def console(*, stderr: bool = False) -> Console:
    """A console; where nobody looks at its edges, it is wide."""
    made = Console(stderr=stderr)
    if made.is_terminal or "COLUMNS" in os.environ:
        return made
    return Console(stderr=stderr, width=WIDTH)


def folding_table(*names: str, **options: Any) -> Table:
    """A table of these columns, which folds what is too wide for it."""
    return Table(*(Column(name, overflow="fold") for name in names), **options)
