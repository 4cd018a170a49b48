"""Output of the commands: no name or number is cut, and no text can control the terminal.

Names, ids and messages may come from untrusted dumps, file names or stores. Every command prints
through a `SafeConsole` with the functions below. They take text literally, without markup, and show
characters that control a terminal, or the direction of text, as U+FFFD.
"""

import os
import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Column, Table
from rich.text import Text

WIDTH = 200  # of a pipe or a file; a benchmark of one seed has all its columns

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
# Of a name such as 20261128-175058-374-c3bf: from the time of day on, from the millisecond on.
_PARTS_OF_RUNS = (3, 2)
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
    constant: Sequence[str] = (),
    runs: Sequence[str] = (),
    optional: Sequence[str] = (),
    title: str = "",
) -> list[str]:
    """Print a table that is no wider than the terminal, if its columns allow that.

    As long as it is too wide: headers are folded; columns without any value are left out; columns
    of `constant` with one value become a line below; names of runs are cut; columns of `optional`
    are left out. Lines below the table name what is not in it.

    Args:
        console: where to.
        names: of the columns.
        rows: their cells.
        numbers: right-aligned columns.
        constant: columns that are not needed if all rows agree, the first to leave out first.
        runs: columns of names of runs, of which an end suffices.
        optional: columns to leave out, the first one first.
        title: above the table.

    Returns:
        The names of the columns that are not in the table.
    """
    fitted = _Columns(
        names, {name: [row[place] for row in rows] for place, name in enumerate(names)}
    )
    width = console.width
    fitted.fold_headers(width)
    empty = fitted.leave_out_empty(width)
    same = fitted.leave_out_constant(constant, width)
    fitted.cut_runs(runs, width)
    left_out = fitted.leave_out(optional, width)

    shown = fitted.shown()
    heads = [fitted.heads[name] for name in shown]
    table = folding_table(*heads, title=title, box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for column, name in zip(table.columns, shown, strict=True):
        column.justify = "right" if name in numbers else "left"
    for row in zip(*(fitted.cells[name] for name in shown), strict=True):
        table.add_row(*row)
    console.print(table)
    if same:
        line(console, f"the same in all rows: {'; '.join(same)}")
    if empty:
        line(console, f"no row has a value for: {', '.join(empty)}")
    if left_out:
        line(console, f"too narrow for: {', '.join(left_out)}; --json has all")
    return [name for name in names if name not in shown]


class _Columns:
    """The columns of a table that is made narrower, step by step, as long as it is too wide."""

    def __init__(self, names: Sequence[str], cells: dict[str, Sequence[str | Text]]) -> None:
        self.names = names
        self.cells = cells
        self.heads = {name: name for name in names}
        self.hidden: set[str] = set()

    def shown(self) -> list[str]:
        """The columns that are left, in their order."""
        return [name for name in self.names if name not in self.hidden]

    def fits(self, width: int) -> bool:
        widths = (max(map(_width, (self.heads[x], *self.cells[x]))) + 2 for x in self.shown())
        return sum(widths) - 2 <= width

    def fold_headers(self, width: int) -> None:
        if not self.fits(width):
            self.heads = {name: _folded(name, self.cells[name]) for name in self.names}

    def leave_out_empty(self, width: int) -> list[str]:
        """Leave out columns without any value, and return their names."""
        empty = [x for x in self.names if self.cells[x] and not any(map(_width, self.cells[x]))]
        return [] if self.fits(width) else self._hide(empty)

    def leave_out_constant(self, names: Sequence[str], width: int) -> list[str]:
        """Leave out columns with one value, and return the names with the values."""
        found = []
        for name in names:
            if (
                name in self.shown()
                and len(set(map(str, self.cells[name]))) == 1
                and not self.fits(width)
            ):
                found += [f"{each}: {self.cells[each][0]}" for each in self._hide([name])]
        return found

    def cut_runs(self, names: Sequence[str], width: int) -> None:
        for parts in _PARTS_OF_RUNS:
            for name in self._shown_of(names):
                if not self.fits(width):
                    self.cells[name] = _ends(self.cells[name], parts)

    def leave_out(self, names: Sequence[str], width: int) -> list[str]:
        """Leave out columns in this order, and return the names of those that do not fit."""
        hidden: list[str] = []
        for name in self._shown_of(names):
            if not self.fits(width):
                hidden += self._hide([name])
        for name in reversed(hidden):  # a narrow one may fit beside what a wide one left free
            self.hidden.discard(name)
            if not self.fits(width):
                self.hidden.add(name)
        return [name for name in hidden if name in self.hidden]

    def _shown_of(self, names: Sequence[str]) -> list[str]:
        return [name for name in names if name in self.shown()]

    def _hide(self, names: list[str]) -> list[str]:
        self.hidden |= set(names)
        return names


def _folded(name: str, cells: Sequence[str | Text]) -> str:
    """A header on several lines, no wider than its longest word or its widest cell."""
    width = max(map(_width, (*name.split(), *cells)), default=0)
    return "\n".join(textwrap.wrap(name, max(width, 1), break_on_hyphens=False)) or name


def _ends(cells: Sequence[str | Text], parts: int) -> Sequence[str | Text]:
    """The last parts of the names of runs, if these tell all of them apart."""
    ends = {str(name): "-".join(str(name).split("-")[-parts:]) for name in cells}
    unique = len(set(ends.values())) == len(ends)
    return [ends[str(name)] for name in cells] if unique else cells


def _width(cell: str | Text) -> int:
    text = plain(cell.plain if isinstance(cell, Text) else cell)
    return max(map(cell_len, text.split("\n")))


def _literal(cell: RenderableType | None) -> RenderableType | None:
    return Text(plain(cell)) if isinstance(cell, str) else cell
