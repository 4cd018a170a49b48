"""Output of the commands: no name or number is cut, and no text can control the terminal.

Names, ids and messages may come from untrusted dumps, file names or stores. Every command prints
through a `SafeConsole` with the functions below. They take text literally, without markup, and show
characters that control a terminal, or the direction of text, as U+FFFD.
"""

import os
import re
from collections.abc import Iterable, Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Column, Table
from rich.text import Text

WIDTH = 160  # of a pipe or a file

# Control characters but line feed and tab, marks of direction, separators, invisible characters
# (fillers, selectors, tags), lone surrogates, private and unassigned planes. The joiners U+200C and
# U+200D stay, as Persian, Indian scripts and emoji need them.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b"
    "\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff\ufe00-\ufe0e\ufeff\uffa0\ufff0-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U0010ffff]"
)
_MOST_MARKS = 4  # combining marks on one letter; more of them cover the lines above and below
_MARK = "[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]"
_MARKS = re.compile(f"({_MARK}{{{_MOST_MARKS}}}){_MARK}+")
REPLACEMENT = "\ufffd"


def plain(text: str) -> str:
    """The text without characters that could control a terminal or reorder text."""
    return _MARKS.sub(r"\1", _UNSAFE.sub(REPLACEMENT, text))


class SafeConsole(Console):
    """A console that removes control characters from texts and reads no markup."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Replace unsafe characters in all text; the console's own controls stay."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(plain(segment.text), segment.style)


def console(*, stderr: bool = False) -> Console:
    """A console; wide if the output is not a terminal."""
    made = SafeConsole(stderr=stderr)
    if made.is_terminal or "COLUMNS" in os.environ:
        return made
    return SafeConsole(stderr=stderr, width=WIDTH)


def line(console: Console, *parts: str | tuple[str, str]) -> None:
    """Print one line, never folded: strings, or (string, style)."""
    literal = [
        plain(part) if isinstance(part, str) else (plain(part[0]), part[1]) for part in parts
    ]
    console.print(Text.assemble(*literal), soft_wrap=True, highlight=False)


class SafeTable(Table):
    """A table that takes strings literally."""

    def add_row(self, *cells: RenderableType | None, **options: Any) -> None:
        """Add a row of strings, or of texts with a style."""
        super().add_row(*(_literal(cell) for cell in cells), **options)


def folding_table(*names: str, title: str = "", **options: Any) -> Table:
    """A table of these columns, which folds cells that are too wide."""
    columns = (Column(Text(plain(name)), overflow="fold") for name in names)
    return SafeTable(*columns, title=Text(plain(title)) if title else None, **options)


def fitting_table(
    console: Console,
    names: Sequence[str],
    rows: Sequence[Sequence[str | Text]],
    *,
    numbers: Sequence[str] = (),
    optional: Sequence[str] = (),
    title: str = "",
) -> list[str]:
    """Print a table, without its optional columns if the terminal is too narrow.

    Args:
        console: where to.
        names: of the columns.
        rows: their cells.
        numbers: right-aligned columns.
        optional: columns to leave out, the first one first; a line below names them.
        title: above the table.

    Returns:
        The names of the columns that were left out.
    """
    widths = {
        name: max([*map(_width, name.split("\n")), *(_width(row[place]) for row in rows)])
        for place, name in enumerate(names)
    }
    shown, left_out = list(names), []
    for name in optional:
        if sum(widths[each] + 2 for each in shown) - 2 > console.width:
            shown.remove(name)
            left_out.append(name)
    table = folding_table(*shown, title=title, box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for column, name in zip(table.columns, shown, strict=True):
        column.justify = "right" if name in numbers else "left"
    for row in rows:
        table.add_row(*(cell for cell, name in zip(row, names, strict=True) if name in shown))
    console.print(table)
    if left_out:
        line(console, f"too narrow for: {', '.join(left_out)}; --json has all")
    return left_out


def _width(cell: str | Text) -> int:
    text = plain(cell.plain if isinstance(cell, Text) else cell)
    return max(map(cell_len, text.split("\n")))


def _literal(cell: RenderableType | None) -> RenderableType | None:
    return Text(plain(cell)) if isinstance(cell, str) else cell
