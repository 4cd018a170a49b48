"""Files for Cornac: triples of raw ids for its `Reader`, and arrays for its modalities.

| file | holds |
|---|---|
| `train.tsv`, `validation.tsv`, `test.tsv` | user, item, rating (1 where absent), [time in s] |
| `text.npy`, `visual.npy` | (I, d), zeros for an item without the modality |
| `item_ids.txt` | the raw id of each row |

Cornac refuses vectors of some items only, hence the zeros. The format of `Reader.read` is UIR, with
a time UIRT.
"""

from pathlib import Path

import numpy as np

from brmrs.columns import SPLIT_NAMES
from brmrs.export.data import ExportData
from brmrs.export.lines import rows_of


def export(data: ExportData, out: Path) -> list[str]:
    """Write the data set into the folder `out/NAME`; returns notes."""
    folder = out / data.name
    folder.mkdir()
    users, items = np.array(data.users, object), np.array(data.items, object)
    rating = np.nan_to_num(data.rating, nan=1.0)
    for part, name in SPLIT_NAMES.items():
        mine = data.split == part
        columns = [users[data.user[mine]], items[data.item[mine]], rating[mine]]
        columns += [data.timestamp[mine] // 1000] * data.is_dated
        # Cornac splits lines at tabs and knows no quotes; ids have no tabs.
        lines = ("\t".join(map(str, row)) + "\n" for row in rows_of(*columns))
        with (folder / f"{name}.tsv").open("w", encoding="utf-8", newline="") as file:
            file.writelines(lines)
    for modality, vectors in data.vectors.items():
        np.save(folder / f"{modality}.npy", vectors.rows, allow_pickle=False)
    ids = "".join(f"{item}\n" for item in data.items)
    (folder / "item_ids.txt").write_text(ids, encoding="utf-8")
    return []
