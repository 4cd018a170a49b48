"""The template that makes one text of an item's fields.

Imports nothing heavy: the configuration checks templates with it.
"""

import string
from collections.abc import Mapping
from dataclasses import dataclass

from brmrs.columns import BRAND, CATEGORIES, DESCRIPTION, TITLE

FIELDS = (TITLE, BRAND, CATEGORIES, DESCRIPTION)


@dataclass(frozen=True)
class _Line:
    """One line: literal text and field names by turns."""

    parts: tuple[tuple[str, str | None], ...]

    def fields(self) -> list[str]:
        return [field for _, field in self.parts if field is not None]

    def fill(self, values: Mapping[str, str]) -> str:
        return "".join(text + (values[field] if field else "") for text, field in self.parts)


@dataclass(frozen=True)
class Template:
    """A checked template; see `parse`."""

    lines: tuple[_Line, ...]

    def render(self, values: Mapping[str, str]) -> str:
        """The text of one item; "" where all fields of the template are empty.

        Lines whose fields are all empty are left out; a line without fields stays.

        Args:
            values: every name of `FIELDS` to its text. White space at its ends does not count.
        """
        stripped = {name: value.strip() for name, value in values.items()}
        if not any(stripped[field] for line in self.lines for field in line.fields()):
            return ""
        kept = (
            line.fill(stripped)
            for line in self.lines
            if not line.fields() or any(stripped[field] for field in line.fields())
        )
        return "\n".join(kept).strip()


def parse(template: str) -> Template:
    """Check a template: lines of text with fields in braces, `{{` and `}}` for the braces.

    Raises:
        ValueError: an unknown field, a format that is not a plain name, or no field at all.
    """
    lines = []
    for text in template.split("\n"):
        parts = tuple(
            (literal, field)
            for literal, field, _, _ in _parse(text)
            if literal or field is not None
        )
        lines.append(_Line(parts))
    if not any(line.fields() for line in lines):
        raise ValueError(f"the template uses no field; there are {_listed()}")
    return Template(tuple(lines))


def _parse(line: str) -> list[tuple[str, str | None, str | None, str | None]]:
    """`string.Formatter.parse`, but only plain names of known fields are allowed."""
    try:
        parts = list(string.Formatter().parse(line))
    except ValueError as error:
        raise ValueError(f"line {line!r} of the template: {error}") from error
    for _, field, form, conversion in parts:
        if field is None:
            continue
        if field not in FIELDS:
            raise ValueError(f"unknown field {{{field}}} in the template; there are {_listed()}")
        if form or conversion:
            raise ValueError(f"write {{{field}}} alone; formats have no meaning in the template")
    return parts


def _listed() -> str:
    return ", ".join(f"{{{field}}}" for field in FIELDS)
