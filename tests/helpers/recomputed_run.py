"""The tables of a run for the helpers that recompute its report. Imports nothing of brmrs."""

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

Values = dict[str, Any]
PARTS = {0: "train", 1: "validation", 2: "test"}
MODALITIES = ("text", "visual")
NOISE = 0.1  # of the width of an interval


class Run:
    """The tables of a run by stage."""

    def __init__(self, folders: Mapping[str, Path], k: int):
        self.folders, self.k = folders, k
        self.split = self.rows("split", "interactions")
        self.items = self.rows("ingest", "items")
        self.users = self.rows("ingest", "users")
        self.of: dict[int, dict[int, list[int]]] = {part: defaultdict(list) for part in PARTS}
        for row in self.split:
            self.of[row["split"]][row["user"]].append(row["item"])
        self.counts = np.zeros(len(self.items), dtype=int)
        for row in self.split:
            self.counts[row["item"]] += row["split"] == 0
        self.features = {m: self._features(m) for m in MODALITIES}

    def rows(self, stage: str, name: str) -> list[dict[str, Any]]:
        return list(pq.read_table(self.folders[stage] / f"{name}.parquet").to_pylist())

    def json(self, stage: str, name: str) -> Any:
        return json.loads((self.folders[stage] / f"{name}.json").read_text())

    def _features(self, modality: str) -> tuple[np.ndarray, np.ndarray]:
        rows = self.rows(f"{modality}_features", "features")
        return np.array([row["vector"] for row in rows]), np.array([row["present"] for row in rows])

    def most_popular(self, user: int) -> list[int]:
        """All items outside training, the most popular first."""
        order = sorted(range(len(self.items)), key=lambda item: (-self.counts[item], item))
        seen = set(self.of[0][user])
        return [item for item in order if item not in seen]


def redraw(found: Values, key: str, values: np.ndarray) -> None:
    """An interval by another bootstrap, as (end, tolerance): they differ by the noise of the draws.

    Ends are quantiles of means, which for few users have large steps.
    """
    generator = np.random.default_rng(1)
    draws = generator.integers(0, len(values), (1000, len(values)))
    low, high = np.quantile(values[draws].mean(axis=1), [0.025, 0.975])
    tolerance = NOISE * (high - low) + 1.01 / len(values)
    found[f"{key}.low~"], found[f"{key}.high~"] = (low, tolerance), (high, tolerance)
