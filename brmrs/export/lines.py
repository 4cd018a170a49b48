"""Tables of text as the toolboxes read them: separated by tabs, quoted where needed."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def write(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> Path:
    """Write rows below a header; without one if it is empty."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        if header:
            writer.writerow(header)
        writer.writerows(rows)
    return path


def one_line(text: str) -> str:
    """The text without line feeds and tabs."""
    return " ".join(text.split())


def rows_of(*columns: Sequence[object] | NDArray[np.generic]) -> Iterable[Sequence[object]]:
    """The rows of columns of equal length, NumPy's numbers as Python's."""
    plain = [each.tolist() if isinstance(each, np.ndarray) else each for each in columns]
    return zip(*plain, strict=True)
