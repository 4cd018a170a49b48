"""Similar items: by the model, by text or picture, or by the users who bought both."""

import logging
import threading
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from brmrs.columns import FUSED, MODALITIES
from brmrs.errors import first_line
from brmrs.evaluation.ranking import finite
from brmrs.features import feature_table
from brmrs.service.limits import MOST_FEATURES
from brmrs.service.loaded import LoadedRun
from brmrs.service.problem import Problem
from brmrs.service.ranking import cards, first

LOG = logging.getLogger(__name__)
PURCHASES = "purchases"
KINDS = (FUSED, *MODALITIES, PURCHASES)


@dataclass(frozen=True)
class Alike:
    """Similar items of one run; the tables of features are read when they are first used.

    Attributes:
        run: the run.
    """

    run: LoadedRun
    _units: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    _reading: threading.Lock = field(default_factory=threading.Lock)

    def to(self, asin: str, kind: str, k: int) -> dict[str, Any]:
        """The K items most similar to an item.

        Args:
            asin: its raw id.
            kind: "fused" (the model's similarity), "text" or "visual" (cosine of the features),
                "purchases" (cosine of the sets of users).
            k: K; fewer are returned where fewer items are similar at all; none if the item has no
                such features.

        Raises:
            Problem: the item is unknown, or the run has no such features.
        """
        item = self.run.item(asin)
        scores = self._scores(item, kind)
        scores[item] = -torch.inf
        found = cards(self.run, *first(scores, k))
        return {"run": self.run.name, "item": asin, "modality": kind, "items": found}

    def kinds(self) -> list[str]:
        """The kinds of similarity that this run has."""
        return [FUSED, *(name for name in MODALITIES if name in self.run.features), PURCHASES]

    def _scores(self, item: int, kind: str) -> Tensor:
        """(I,) new tensor; -inf for items that cannot be compared."""
        if kind == FUSED:
            return finite(self.run.bundle.fused.similarities(item)).clone()
        if kind == PURCHASES:
            return self._by_purchases(item)
        units, present = self._features(kind)
        if not present[item]:
            return torch.full_like(present, -torch.inf, dtype=units.dtype)
        return torch.where(present, units @ units[item], -torch.inf)

    def _by_purchases(self, item: int) -> Tensor:
        seen = self.run.bundle.seen
        users = seen.users[seen.items == item]
        together = torch.bincount(seen.of(users)[1], minlength=seen.n_items).float()
        norms = torch.from_numpy(np.maximum(self.run.popularity, 1)).float()
        cosines = together / (norms * max(1, len(users))).sqrt()
        return torch.where(together > 0, cosines, -torch.inf)

    def _features(self, modality: str) -> tuple[Tensor, Tensor]:
        """(I, d) rows of unit length and the (I,) mask of items that have the modality."""
        with self._reading:
            if modality not in self._units:
                self._units[modality] = self._read(modality)
            return self._units[modality]

    def _read(self, modality: str) -> tuple[Tensor, Tensor]:
        path = self.run.features.get(modality)
        if path is None:
            raise Problem(404, f"run {self.run.name} has no {modality} features")
        try:
            items, dimension = feature_table.shape(path)
            if 4 * items * dimension > MOST_FEATURES:
                raise Problem(404, f"the {modality} features are too large to be held in memory")
            vectors, present = feature_table.read(path)
        except (pa.ArrowException, OSError, ValueError, KeyError, AttributeError) as error:
            LOG.warning("%s: %s", path, first_line(error))
            message = f"the {modality} features are missing or damaged; run the pipeline again"
            raise Problem(503, message) from error
        if len(vectors) != len(self.run.catalogue.ids):
            raise Problem(503, f"the {modality} features are not those of the model's items")
        units = torch.nn.functional.normalize(torch.from_numpy(vectors), dim=1)
        return units, torch.from_numpy(present)
