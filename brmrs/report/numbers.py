"""Numbers and tables of the page. Every number has a key and its full value, so tests can check it.

A number is an element `<data data-key="test.fused.recall@20" value="0.461196353124">0.4612</data>`.
tests/report/test_report_numbers.py recomputes the value of each key from the artifacts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from markupsafe import Markup

T = TypeVar("T")
NONE = "\N{EN DASH}"
# z: no minus before a rounded 0.
FORMS: dict[str, Callable[[float], str]] = {
    "count": lambda value: f"{value:,.0f}",
    "metric": lambda value: f"{value:.4f}",
    "signed": lambda value: f"{value:+z.4f}",
    "decimal": lambda value: f"{value:z,.3f}",
    "short": lambda value: f"{value:z,.2f}",
    "score": lambda value: f"{value:+z.2f}",
    "percent": lambda value: f"{100 * value:z.1f} %",
    "p": lambda value: f"{value:.2g}",
    "seconds": lambda value: f"{value:,.1f} s",
}


@dataclass(frozen=True)
class Table:
    """A table of the page.

    Attributes:
        head: names of the columns; "" for the column of row names.
        rows: cells; text, or numbers from `number`, which are aligned to the right.
        marked: rows to print in bold.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[Any]]
    marked: frozenset[int] = frozenset()

    def numeric(self, column: int) -> bool:
        """Whether the cells of a column are numbers."""
        return any(column < len(row) and isinstance(row[column], Markup) for row in self.rows)


def number(key: str, value: float | None, form: str = "metric") -> Markup:
    """A number as HTML; a dash if there is none.

    Args:
        key: of the quantity.
        value: in its unit; shares are in [0, 1].
        form: of `FORMS`.
    """
    text = NONE if value is None else FORMS[form](value)
    full = "" if value is None else repr(value)
    return Markup('<data data-key="{}" value="{}">{}</data>').format(key, full, text)


def interval(key: str, low: float, high: float, form: str = "metric") -> Markup:
    """The ends of an interval; their keys end with `.low` and `.high`."""
    ends = number(f"{key}.low", low, form), number(f"{key}.high", high, form)
    return Markup("{} to {}").format(*ends)


def sentence(text: str, *parts: Any) -> Markup:
    """A text with numbers in the places of `{}`; other parts are escaped."""
    return Markup(text).format(*parts)


def thinned(values: Sequence[T], most: int) -> list[T]:
    """At most so many values, evenly chosen, with the first and the last."""
    if len(values) <= most:
        return list(values)
    places = [round(n * (len(values) - 1) / (most - 1)) for n in range(most)]
    return [values[place] for place in places]


def listed(words: Sequence[str]) -> str:
    """Words as a list: "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))
