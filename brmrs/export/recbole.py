"""RecBole's atomic files, with the split and the vectors.

| file | holds |
|---|---|
| `NAME.train.inter`, `NAME.valid.inter`, `NAME.test.inter` | the split: `benchmark_filename` |
| `NAME.item` | raw id, title, brand and categories |
| `NAME.text`, `NAME.visual` | the vectors of the items that have one: `additional_feat_suffix` |
| `NAME.yaml` | the configuration that reads them |
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from brmrs.columns import TEST, TRAIN, VALIDATION
from brmrs.export.data import ExportData, Vectors
from brmrs.export.lines import one_line, rows_of, write
from brmrs.system import progress

PARTS = {TRAIN: "train", VALIDATION: "valid", TEST: "test"}
USER, ITEM = "user_id:token", "item_id:token"
NOTHING = " "  # an empty sequence; with pandas 3, RecBole fails at an empty text
# pandas, by which RecBole reads its files, takes these texts for missing values.
MISSING_IN_PANDAS = frozenset(
    (
        "#N/A",
        "#NA",
        "-NaN",
        "-nan",
        "<NA>",
        "N/A",
        "NA",
        "NULL",
        "NaN",
        "None",
        "n/a",
        "nan",
        "null",
    )
)


def export(data: ExportData, out: Path) -> list[str]:
    """Write the data set into the folder `out/NAME`; returns notes."""
    folder = out / data.name
    folder.mkdir()
    users, items = np.array(data.users, object), np.array(data.items, object)
    header = [USER, ITEM]
    header += ["rating:float"] * data.is_rated + ["timestamp:float"] * data.is_dated
    for part, name in PARTS.items():
        mine = data.split == part
        columns = [users[data.user[mine]], items[data.item[mine]]]
        columns += [data.rating[mine]] * data.is_rated + [data.timestamp[mine]] * data.is_dated
        write(folder / f"{data.name}.{name}.inter", header, rows_of(*columns))
    write(
        folder / f"{data.name}.item",
        [ITEM, "title:token_seq", "brand:token", "categories:token_seq"],
        rows_of(
            data.items,
            [one_line(title) or NOTHING for title in data.titles],
            [one_line(brand) for brand in data.brands],
            [
                " ".join("_".join(each.split()) for each in parts) or NOTHING
                for parts in data.categories
            ],
        ),
    )
    for modality, vectors in data.vectors.items():
        head = [f"{modality}_id:token", f"{modality}_vector:float_seq"]
        write(folder / f"{data.name}.{modality}", head, _vectors(modality, data.items, vectors))
    text = yaml.safe_dump(_settings(data), sort_keys=False)
    (folder / f"{data.name}.yaml").write_text(text, encoding="utf-8")
    odd = sum(name in MISSING_IN_PANDAS for name in (*data.users, *data.items))
    return [f"RecBole reads {odd} ids, such as NA, as missing values"] if odd else []


def _vectors(modality: str, items: Sequence[str], vectors: Vectors) -> Iterator[tuple[str, str]]:
    rows: list[int] = np.flatnonzero(vectors.present).tolist()
    with progress.task(f"writing {modality} vectors", len(rows)) as task:
        for row in rows:
            yield items[row], " ".join(map(str, vectors.rows[row]))
            task.advance()


def _settings(data: ExportData) -> dict[str, Any]:
    """RecBole's settings; run it with `data_path` set to the folder above the data set's."""
    inter = ["user_id", "item_id"]
    inter += ["rating"] * data.is_rated + ["timestamp"] * data.is_dated
    # RecBole 1.2.1 with pandas 3 cannot load columns of the type token_seq; its models read none.
    load: dict[str, list[str]] = {"inter": inter, "item": ["item_id", "brand"]}
    load |= {name: [f"{name}_id", f"{name}_vector"] for name in data.vectors}
    return {
        "dataset": data.name,
        "benchmark_filename": list(PARTS.values()),
        "field_separator": "\t",
        "load_col": load,
        "additional_feat_suffix": list(data.vectors),
        "alias_of_item_id": [f"{name}_id" for name in data.vectors],
        "preload_weight": {f"{name}_id": f"{name}_vector" for name in data.vectors},
        "eval_args": {"order": "RO", "mode": "full", "group_by": "user"},
    }
