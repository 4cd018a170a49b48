"""Every number of the report is what an independent script computes from the Parquet files."""

from pathlib import Path

import pytest
from recomputed_report import numbers
from report_numbers import Numbers, wrong


def test_every_number_is_recomputed(folders: dict[str, Path], page: str) -> None:
    found = Numbers(page).found
    expected = numbers(folders, k=20, cut_offs=(5, 10, 20))
    faults = {fault for key, value, _ in found if (fault := wrong(key, value, expected))}
    assert not faults
    kinds = {key.partition(".")[0] for key, _, _ in found}
    assert kinds >= {
        "test",
        "interval",
        "paired",
        "lists",
        "strata",
        "sets",
        "case",
        "curve",
        "graph",
    }


def test_a_wrong_number_is_found() -> None:
    assert wrong("a", "1.001", {"a": 1.0})
    assert not wrong("a", "1.0000000001", {"a": 1.0})
    assert wrong("a", "", {"a": 1.0})
    assert wrong("b", "1", {"a": 1.0})
    assert wrong("a.low", "0.5", {"a.low~": (0.4, 0.02)})
    assert not wrong("a.low", "0.41", {"a.low~": (0.4, 0.02)})


@pytest.mark.parametrize("kind", ["e+", "nan", "None", "inf"])
def test_no_number_is_written_strangely(page: str, kind: str) -> None:
    assert not [text for _, _, text in Numbers(page).found if kind in text]
