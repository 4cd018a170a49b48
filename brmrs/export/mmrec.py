"""The layout of MMRec, which is also the literature's ready-made layout.

| file | holds |
|---|---|
| `NAME.inter` | `userID`, `itemID`, [`rating`, `timestamp`], `x_label` (the split: 0, 1, 2) |
| `u_id_mapping.csv`, `i_id_mapping.csv` | the raw id of each `userID` and `itemID` |
| `text_feat.npy`, `image_feat.npy` | row i is the vector of `itemID` i; zeros: none |
| `NAME.yaml` | MMRec's configuration of the data set (for `src/configs/dataset/`) |
"""

from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from brmrs.columns import (
    ASIN,
    LAYOUT_ITEM,
    LAYOUT_SPLIT,
    LAYOUT_USER,
    RATING,
    TEXT,
    TIMESTAMP,
    USER_ID,
    VISUAL,
)
from brmrs.export.data import ExportData
from brmrs.export.lines import rows_of, write

FEATURES = {TEXT: "text_feat.npy", VISUAL: "image_feat.npy"}


def export(data: ExportData, out: Path) -> list[str]:
    """Write the data set into the folder `out/NAME`; returns notes."""
    folder = out / data.name
    folder.mkdir()
    named: dict[str, NDArray[np.generic]] = {LAYOUT_USER: data.user, LAYOUT_ITEM: data.item}
    if data.is_rated:
        named[RATING] = data.rating
    if data.is_dated:
        named[TIMESTAMP] = data.timestamp
    named[LAYOUT_SPLIT] = data.split
    write(folder / f"{data.name}.inter", list(named), rows_of(*named.values()))
    for file, raw, dense, ids in (
        ("u_id_mapping.csv", USER_ID, LAYOUT_USER, data.users),
        ("i_id_mapping.csv", ASIN, LAYOUT_ITEM, data.items),
    ):
        write(folder / file, [raw, dense], rows_of(ids, range(len(ids))))
    for modality, vectors in data.vectors.items():
        np.save(folder / FEATURES[modality], vectors.rows, allow_pickle=False)
    settings = {
        "USER_ID_FIELD": LAYOUT_USER,
        "ITEM_ID_FIELD": LAYOUT_ITEM,
        "inter_file_name": f"{data.name}.inter",
        "inter_splitting_label": LAYOUT_SPLIT,
        "field_separator": "\t",
        "filter_out_cod_start_users": True,
        **{
            ("text" if modality == TEXT else "vision") + "_feature_file": FEATURES[modality]
            for modality in data.vectors
        },
    }
    (folder / f"{data.name}.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    return []
