"""The rows of items on disk: found by their ids, merged, and in order."""

from pathlib import Path

import pyarrow as pa
import pytest

from brmrs.ingest.dataset import Item
from brmrs.ingest.out_of_core.items import SAMPLED, SpilledItems


@pytest.mark.parametrize("count", [1, SAMPLED - 1, SAMPLED, SAMPLED + 1, 3 * SAMPLED + 5])
@pytest.mark.parametrize("part", [None, 7])
def test_every_item_gets_its_rows_and_others_are_counted(
    count: int, part: int | None, tmp_path: Path
) -> None:
    ids = [f"id-{2 * number:04d}\N{LATIN SMALL LETTER E WITH ACUTE}" for number in range(count)]
    rows = SpilledItems(pa.array(ids, pa.large_string()), "metadata", tmp_path, 100, part)
    for asin in reversed(ids):
        rows.add(asin, lambda asin=asin: Item(title=asin))  # type: ignore[misc]
    rows.add(ids[0], lambda: Item(brand="brand"))
    others = ["", "id", *(f"id-{2 * number + 1:04d}" for number in range(count)), "z"]
    for asin in others:
        rows.add(asin, lambda: Item(title="wrong"))
    found = [item for items in rows.parts() for item in items]
    assert found == [Item(title=ids[0], brand="brand"), *(Item(title=asin) for asin in ids[1:])]
    assert rows.reading.notes["never_reviewed"] == len(others)
    assert rows.reading.notes["duplicates"] == 1
