"""Whether a retrained model may replace the served one: a paired bootstrap over validation users.

Both models rank on common ground, so that only the models differ:

- users that both know. A new user has no representation in the served model, so there is nothing
  to pair; such users are counted.
- items that both know: neither ranks another, and a held-out item that one of them does not know
  is left out.
- the training items of both are masked, and held-out items among them are left out: after a new
  random split, items that validate the candidate were training items of the served model.

With d_u the candidate's metric minus the served model's for user u, the users are drawn with
replacement, as many as there are, and the mean of d_u taken, many times over (the percentile
interval of Efron & Tibshirani 1993). The candidate is shown worse by more than the margin if the
`confidence` quantile of these means lies below minus the margin.
"""

from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brmrs.columns import VALIDATION
from brmrs.config.learning import RetrainConfig
from brmrs.errors import UserError
from brmrs.evaluation.metrics import measure
from brmrs.graphs.user_items import UserItems
from brmrs.models import bundle
from brmrs.models.base import Scorer
from brmrs.models.bundle import Bundle
from brmrs.serving.current import Verdict, of_data_set
from brmrs.stages import SPLIT
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.runs import Run

RESAMPLES = 10_000
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Paired:
    """One metric of two models on the same users.

    Attributes:
        current: (n,) of the served model.
        candidate: (n,) of the retrained one.
        users_left_out: validation users that the served model does not know, or of whose held-out
            items none is on common ground.
    """

    current: Floats
    candidate: Floats
    users_left_out: int


@dataclass(frozen=True)
class Comparison:
    """The numbers behind a verdict.

    Attributes:
        against: the run that was served.
        metric: such as "recall@20".
        users: n, compared.
        users_left_out: see `Paired`.
        current: mean over the users.
        candidate: likewise.
        difference: candidate minus current.
        at_most: the `confidence` quantile of the bootstrapped differences.
        margin: that the difference may fall short by.
        confidence: of `at_most`.
    """

    against: str
    metric: str
    users: int
    users_left_out: int
    current: float
    candidate: float
    difference: float
    at_most: float
    margin: float
    confidence: float

    @property
    def worse(self) -> bool:
        """Whether the candidate is shown worse by more than the margin."""
        return self.at_most < -self.margin

    def __str__(self) -> str:
        shown = "shown" if self.worse else "not shown"
        return (
            f"{self.metric} {self.candidate:.4f}, of the served run {self.against} "
            f"{self.current:.4f}, on {self.users:,} users; difference {self.difference:+.4f}, at "
            f"most {self.at_most:+.4f} with confidence {self.confidence:g}: {shown} worse by more "
            f"than {self.margin:g}"
        )


def judge(store: ArtifactStore, run: Run, config: RetrainConfig) -> Verdict:
    """Compare a retrained run with the one that is served.

    Raises:
        UserError: the served run is of another data set.
    """
    current = of_data_set(store, run.config["name"])
    if current is None:
        return Verdict(True, "nothing was promoted before")
    candidate = bundle.load(store.path(run.artifact("train")))
    try:
        model = bundle.load(store.path(current.artifact("train")))
    except UserError as error:
        return Verdict(True, f"the served model cannot be compared with: {error}")
    users, items = len(candidate.about.users), len(candidate.about.items)
    split = store.path(run.artifact("split"), SPLIT)
    validation = UserItems.read(split, VALIDATION, users, items)
    paired = measure_both(model, candidate, validation, config.metric)
    if not len(paired.current):
        return Verdict(True, "no validation user on common ground with the served model")
    found = compare(paired, config, current.name)
    return Verdict(not found.worse, str(found), asdict(found))


def compare(paired: Paired, config: RetrainConfig, against: str) -> Comparison:
    """The paired bootstrap of n > 0 users."""
    differences = paired.candidate - paired.current
    means = bootstrap(differences, RESAMPLES, config.seed)
    return Comparison(
        against=against,
        metric=config.metric,
        users=len(differences),
        users_left_out=paired.users_left_out,
        current=float(paired.current.mean()),
        candidate=float(paired.candidate.mean()),
        difference=float(differences.mean()),
        at_most=float(np.quantile(means, config.confidence)),
        margin=config.margin,
        confidence=config.confidence,
    )


def bootstrap(differences: Floats, resamples: int, seed: int) -> Floats:
    """(resamples,) means of (n,) differences drawn n times with replacement.

    Only how often each value is drawn matters, so the counts of the distinct values are drawn at
    once, from the multinomial distribution that n single draws would give them.
    """
    values, counts = np.unique(differences, return_counts=True)
    n, generator = len(differences), np.random.default_rng(seed)
    draws = (generator.multinomial(n, counts / n) for _ in range(resamples))
    return np.fromiter((drawn @ values / n for drawn in draws), np.float64, resamples)


def measure_both(current: Bundle, candidate: Bundle, validation: UserItems, metric: str) -> Paired:
    """A metric of both models for each validation user, on common ground (see above).

    Args:
        current: the served model.
        candidate: the retrained one.
        validation: in the dense ids of the candidate.
        metric: such as "recall@20".
    """
    users = sorted(current.user_index.keys() & candidate.user_index.keys())
    items = sorted(current.item_index.keys() & candidate.item_index.keys())
    old, new = (_Ground.of(model, users, items) for model in (current, candidate))
    masked = _union(old.moved(current.seen), new.moved(candidate.seen))
    held_out = new.moved(validation)
    fresh = ~masked.contain(held_out.users, held_out.items)
    held_out = UserItems.from_pairs(
        held_out.users[fresh], held_out.items[fresh], len(users), len(items)
    )
    k = int(metric.partition("@")[2])
    values = [measure(ground, held_out, masked, (k,))[metric].numpy() for ground in (old, new)]
    left_out = int((validation.counts > 0).sum()) - len(values[0])
    return Paired(values[0], values[1], left_out)


@dataclass(frozen=True)
class _Ground(Scorer):
    """The users and items that both models know, as one of them numbers and ranks them.

    Attributes:
        whole: what that model ranks all its items by.
        users: dense ids in that model; the position is the id on common ground.
        items: likewise.
    """

    whole: Scorer
    users: Tensor
    items: Tensor

    @classmethod
    def of(cls, model: Bundle, users: list[str], items: list[str]) -> "_Ground":
        return cls(
            model.fused,
            torch.tensor([model.user_index[name] for name in users], dtype=torch.int64),
            torch.tensor([model.item_index[name] for name in items], dtype=torch.int64),
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Users and items on common ground."""
        return len(self.users), len(self.items)

    def scores(self, users: Tensor) -> Tensor:
        """(B,) users to their (B, I) scores, all by ids on common ground."""
        return self.whole.scores(self.users[users])[:, self.items]

    def similarities(self, item: int) -> Tensor:
        """(I,) how much each item is like the given one, by ids on common ground."""
        return self.whole.similarities(int(self.items[item]))[self.items]

    def moved(self, sets: UserItems) -> UserItems:
        """The same sets by their ids on common ground, without what is not there."""
        places = [
            torch.full((size,), -1).index_copy(0, kept, torch.arange(len(kept)))
            for size, kept in zip(self.whole.shape, (self.users, self.items), strict=True)
        ]
        users, items = places[0][sets.users], places[1][sets.items]
        kept = (users >= 0) & (items >= 0)
        return UserItems.from_pairs(users[kept], items[kept], *self.shape)


def _union(one: UserItems, other: UserItems) -> UserItems:
    users, items = torch.cat([one.users, other.users]), torch.cat([one.items, other.items])
    return UserItems.from_pairs(users, items, one.n_users, one.n_items)
