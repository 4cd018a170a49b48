"""Every number of the report is what an independent script computes from the Parquet files."""

import math
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from recomputed_report import numbers

NOISE = 0.1  # of the width of an interval: two bootstraps differ by that


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
        right, width = expected[f"{key}~"]
        return (
            "" if abs(own - right) <= NOISE * width + 1e-9 else f"{key}: {own}, not about {right}"
        )
    return f"{key}: nobody recomputes it"


def test_every_number_is_recomputed(folders: dict[str, Path], page: str) -> None:
    found = Numbers(page).found
    expected = numbers(folders, k=20, cut_offs=(5, 10, 20))
    faults = {fault for key, value, _ in found if (fault := wrong(key, value, expected))}
    assert not faults
    kinds = {key.partition(".")[0] for key, _, _ in found}
    assert kinds >= {"test", "interval", "paired", "lists", "strata", "sets", "case", "curve"}


def test_a_wrong_number_is_found() -> None:
    assert wrong("a", "1.001", {"a": 1.0})
    assert not wrong("a", "1.0000000001", {"a": 1.0})
    assert wrong("a", "", {"a": 1.0})
    assert wrong("b", "1", {"a": 1.0})
    assert wrong("a.low", "0.5", {"a.low~": (0.4, 0.2)})
    assert not wrong("a.low", "0.41", {"a.low~": (0.4, 0.2)})


@pytest.mark.parametrize("kind", ["e+", "nan", "None", "inf"])
def test_no_number_is_written_strangely(page: str, kind: str) -> None:
    assert not [text for _, _, text in Numbers(page).found if kind in text]
