"""A run in memory: its bundle, the tables of items and interactions, and what is derived."""

import logging
import time
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from urllib.parse import quote

import numpy as np
import torch
from torch import Tensor

from brmrs.columns import FUSED
from brmrs.errors import UserError
from brmrs.evaluation.ranking import finite
from brmrs.images.picture_store import TABLE
from brmrs.models import bundle as bundles
from brmrs.models.base import Scorer
from brmrs.models.bundle import Bundle
from brmrs.service import catalogue, history, index
from brmrs.service.catalogue import Catalogue
from brmrs.service.history import History
from brmrs.service.index import Index
from brmrs.service.limits import FAST_SECONDS
from brmrs.service.problem import Problem, brief
from brmrs.serving.current import NEEDED
from brmrs.stages import FEATURE_TABLES, ITEMS, SPLIT
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.runs import Run, sound

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedRun:
    """A run that answers requests. After loading only `indices` changes.

    Attributes:
        run: its manifest.
        bundle: the model.
        catalogue: the items.
        history: the interactions.
        images: folder of the pictures; None if the run has none.
        features: files of the vectors, by modality, as far as there are any.
        indices: approximate indices by branch; filled by `index`.
    """

    run: Run
    bundle: Bundle
    catalogue: Catalogue
    history: History
    images: Path | None
    features: Mapping[str, Path]
    indices: dict[str, Index] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Of the run."""
        return self.run.name

    @cached_property
    def branches(self) -> list[str]:
        """The branches of the model, the fused one first."""
        return sorted(self.bundle.branches, key=lambda name: (name != FUSED, name))

    @cached_property
    def _sorted_users(self) -> list[str]:
        return sorted(self.bundle.about.users)

    @cached_property
    def _busiest(self) -> np.ndarray:
        """Users by decreasing number of training items."""
        return np.argsort(-self.bundle.seen.counts.numpy(), kind="stable")

    @cached_property
    def popularity(self) -> np.ndarray:
        """(I,) int64 number of users of each item."""
        return np.bincount(self.bundle.seen.items.numpy(), minlength=self.bundle.seen.n_items)

    def scorer(self, branch: str) -> Scorer:
        """The scorer of a branch.

        Raises:
            Problem: the model has no such branch.
        """
        if branch not in self.bundle.branches:
            has = ", ".join(self.branches)
            raise Problem(404, f"no branch {brief(branch)}; the model has {has}")
        return self.bundle.branches[branch]

    def user(self, name: str) -> int:
        """The dense id of a user.

        Raises:
            Problem: the model does not know the user.
        """
        user = self.bundle.user_index.get(name)
        if user is None:
            raise Problem(404, f"no user {brief(name)}; POST /v1/recommendations takes a history")
        return user

    def item(self, asin: str) -> int:
        """The dense id of an item.

        Raises:
            Problem: the model does not know the item.
        """
        item = self.bundle.item_index.get(asin)
        if item is None:
            raise Problem(404, f"no item {brief(asin)}")
        return item

    def users_like(self, query: str, limit: int) -> list[int]:
        """Users whose id starts with the query, by id; without a query those with most items."""
        if not query:
            return [int(user) for user in self._busiest[:limit]]
        first = bisect_left(self._sorted_users, query)
        found = self._sorted_users[first : first + limit]
        return [self.bundle.user_index[name] for name in found if name.startswith(query)]

    def seen(self, user: int) -> Tensor:
        """(n,) int64 the training items of a user."""
        starts = self.bundle.seen.indptr
        return self.bundle.seen.items[starts[user] : starts[user + 1]]

    @cached_property
    def seconds(self) -> float:
        """Of one user's scores by the slowest branch, as measured after loading."""
        return max(map(_seconds, self.bundle.branches.values()))

    @property
    def fast(self) -> bool:
        """Whether a ranking takes less time than a change of threads."""
        return self.seconds < FAST_SECONDS

    def warm_up(self) -> None:
        """Compute the derived tables, so that the first request does not wait."""
        self.catalogue.search("a", 1)
        self.users_like("a", 1)
        self.users_like("", 1)
        _ = (self.popularity, self.catalogue.by_category, self.branches, self.seconds)
        _ = (self.bundle.item_index, self.bundle.user_index, self.bundle.fold_in)

    def index(self) -> None:
        """Build the approximate indices of the branches; until then ranking is exact."""
        for name, scorer in self.bundle.branches.items():
            if found := index.build(name, scorer):
                self.indices[name] = found


def _seconds(scorer: Scorer) -> float:
    """Of the scores of one user, the fastest of several times.

    Raises:
        UserError: they are NaN or infinite.
    """
    times = []
    for _ in range(5):
        started = time.perf_counter()
        finite(scorer.scores(torch.zeros(1, dtype=torch.long)))
        times.append(time.perf_counter() - started)
    return min(times)


def load(
    store: ArtifactStore, run: Run, *, others: Sequence[Run] = (), beside: bool = False
) -> LoadedRun:
    """Load a run.

    Args:
        store: the artifact store.
        run: its manifest.
        others: further runs, newest first. If the run itself has no pictures or features, those
            of the first run with the same items are used.
        beside: whether it is loaded beside the served run, so that addresses of pictures name it.

    Raises:
        UserError: its model or items are missing or damaged, or the model cannot rank.
    """
    sound(run, store, *NEEDED)
    model = bundles.load(store.path(run.artifact("train")))
    _refuse_not_finite(model, run)
    users, items = len(model.about.users), len(model.about.items)
    images = _folder(store, "images", run, others)
    pictures: list[str | None] = [None] * items
    if images:
        pictures = catalogue.read_pictures(images / TABLE, items)
    suffix = f"?run={quote(run.name)}" if beside else ""
    table = store.path(run.artifact("ingest"), ITEMS)
    interactions = history.from_bundle(model.seen)
    if split := _folder(store, "split", run):
        interactions = history.read(split / Path(SPLIT).name, users, items)
    features = {
        modality: folder / Path(file).name
        for modality, file in FEATURE_TABLES.items()
        if (folder := _folder(store, f"{modality}_features", run, others))
    }
    loaded = LoadedRun(
        run,
        model,
        catalogue.read(table, model.about.items, pictures, suffix),
        interactions,
        images,
        features,
    )
    loaded.warm_up()
    return loaded


def _folder(store: ArtifactStore, stage: str, run: Run, others: Sequence[Run] = ()) -> Path | None:
    """The artifact of a stage: of the run, else of the first other run with the same items."""
    for each in (run, *others):
        if stage not in each.stages or each.artifact("ingest") != run.artifact("ingest"):
            continue
        if store.verify(each.artifact(stage)):
            return store.path(each.artifact(stage))
        LOG.warning("run %s: the artifact of %s is missing or damaged; left out", each.name, stage)
    return None


def _refuse_not_finite(model: Bundle, run: Run) -> None:
    for name, scorer in model.branches.items():
        for part, tensor in vars(scorer).items():
            if isinstance(tensor, Tensor) and not bool(tensor.isfinite().all()):
                raise UserError(
                    f"run {run.name}: {part} of the branch {name} is NaN or infinite: the model "
                    "diverged in training; serve another run"
                )
