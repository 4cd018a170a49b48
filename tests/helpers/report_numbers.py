"""The numbers on a page of the report, and whether they are those that were expected."""

import math
from html.parser import HTMLParser
from typing import Any


class Numbers(HTMLParser):
    """The (key, value, text) of each `<data>` element."""

    def __init__(self, page: str):
        super().__init__()
        self.found: list[tuple[str, str, str]] = []
        self._open: tuple[str, str] | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "data":
            given = dict(attrs)
            self._open = given["data-key"] or "", given["value"] or ""

    def handle_data(self, data: str) -> None:
        if self._open is not None:
            self.found.append((*self._open, data))
            self._open = None


def wrong(key: str, value: str, expected: dict[str, Any]) -> str:
    """What is wrong with a number of the page; empty if nothing."""
    own = float(value) if value else None
    if key in expected:
        right = expected[key]
        if own is None or right is None:
            return "" if own is right else f"{key}: {own}, not {right}"
        close = math.isclose(own, right, rel_tol=1e-6, abs_tol=1e-9)
        return "" if close else f"{key}: {own}, not {right}"
    if f"{key}~" in expected and own is not None:
        right, tolerance = expected[f"{key}~"]
        return "" if abs(own - right) <= tolerance else f"{key}: {own}, not about {right}"
    return f"{key}: nobody recomputes it"
