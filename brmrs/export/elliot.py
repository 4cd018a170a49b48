"""Elliot's files: the split without headers, and a file for each item's vector.

| file | holds |
|---|---|
| `train.tsv`, `validation.tsv`, `test.tsv` | user, item, rating (1 where absent), [time in s] |
| `users.tsv`, `items.tsv` | number and raw id: Elliot's loaders of vectors need whole numbers |
| `text/`, `visual/` | `ITEM.npy`, (d,); zeros for an item without the modality |
| `data.yml` | the section `data_config` of Elliot's configuration |

Elliot drops items without a file of vectors, which would change the split; hence the zeros. It
takes a text of its configuration for a path if it starts with a dot or names a file with an
extension; a folder needs the dot. Paths are relative to the configuration file.
"""

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from brmrs.columns import SPLIT_NAMES, TEXT
from brmrs.export.data import ExportData
from brmrs.export.lines import rows_of, write
from brmrs.system import progress


def export(data: ExportData, out: Path) -> list[str]:
    """Write the data set into the folder `out/NAME`; returns notes."""
    folder = out / data.name
    folder.mkdir()
    rating = np.nan_to_num(data.rating, nan=1.0)
    for part, name in SPLIT_NAMES.items():
        mine = data.split == part
        columns = [data.user[mine], data.item[mine], rating[mine]]
        columns += [data.timestamp[mine] // 1000] * data.is_dated
        write(folder / f"{name}.tsv", [], rows_of(*columns))
    write(folder / "users.tsv", [], rows_of(range(len(data.users)), data.users))
    write(folder / "items.tsv", [], rows_of(range(len(data.items)), data.items))
    for modality, vectors in data.vectors.items():
        (folder / modality).mkdir()
        with progress.task(f"writing {modality} vectors", len(data.items)) as task:
            for item, row in enumerate(vectors.rows):
                np.save(folder / modality / f"{item}.npy", row, allow_pickle=False)
                task.advance()
    text = yaml.safe_dump({"data_config": _settings(data)}, sort_keys=False)
    (folder / "data.yml").write_text(text, encoding="utf-8")
    return []


def _settings(data: ExportData) -> dict[str, Any]:
    loaders = [
        {
            "dataloader": "TextualAttribute" if modality == TEXT else "VisualAttribute",
            f"{'textual' if modality == TEXT else 'visual'}_features": f"./{modality}",
        }
        for modality in data.vectors
    ]
    paths = {f"{name}_path": f"./{name}.tsv" for name in SPLIT_NAMES.values()}
    return {"strategy": "fixed", **paths, **({"side_information": loaders} if loaders else {})}
