"""Whether a retrained model may replace the served one: a test of non-inferiority.

Both models rank the same users and items, so that only the models differ:

- The users are those of both models. A new user has no representation in the served model and
  cannot be compared; such users are counted.
- The items are those of both models. A held-out item that one model does not have is left out.
- The training items of both models are masked, and held-out items among them are left out. After a
  new random split, validation items of the candidate may be training items of the served model.

With d_u the candidate's metric minus the served model's for user u, the mean of d_u is bootstrapped
over users (see `brmrs.evaluation.paired`). The candidate is promoted only if the lower end of the
one-sided interval, the 1 - `confidence` quantile, is above minus `margin`. It is not promoted if
there are too few users, or if it lacks too many of the users and items of the served model.

The state of a verdict is one of:

| state | promoted | meaning |
|---|---|---|
| `first model` | yes | nothing was served for this data set |
| `not inferior` | yes | the lower end is above -margin |
| `not shown non-inferior` | no | the lower end is not above -margin |
| `too few users` | no | fewer than `retrain.min_users` users can be compared |
| `unknown users or items` | no | too few of the served users or items (`retrain.min_known_share`) |
| `served model unreadable` | no | there is nothing to compare with |
| `not comparable` | no | a model cannot rank: its scores are not finite |
"""

from collections.abc import Container, Iterable
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from torch import Tensor

from brmrs.columns import VALIDATION
from brmrs.config.learning import RetrainConfig
from brmrs.errors import UserError
from brmrs.evaluation.metrics import measure
from brmrs.evaluation.paired import RESAMPLES, Floats, bootstrap
from brmrs.graphs.user_items import UserItems
from brmrs.models import bundle
from brmrs.models.base import Scorer
from brmrs.models.bundle import Bundle
from brmrs.serving.current import Verdict, of_data_set
from brmrs.stages import SPLIT
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.runs import Run

FIRST, NOT_INFERIOR = "first model", "not inferior"
INFERIOR = "not shown non-inferior"
FEW_USERS, UNKNOWN = "too few users", "unknown users or items"
UNREADABLE, NOT_COMPARABLE = "served model unreadable", "not comparable"


@dataclass(frozen=True)
class Paired:
    """One metric of two models on the same users.

    Attributes:
        current: (n,) of the served model.
        candidate: (n,) of the retrained one.
        users_left_out: validation users that the served model does not have, or without any
            held-out item that both models have.
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
        known_users: share of the served model's users that the candidate has.
        known_items: share of the served model's items that the candidate has.
        users: n, compared.
        users_left_out: see `Paired`.
        current: mean over the users; None where there are none, as for the next three.
        candidate: mean of the candidate.
        difference: candidate minus current.
        at_least: lower end of the confidence interval of the difference.
        margin: the largest decrease that is accepted.
        confidence: of `at_least`.
    """

    against: str
    metric: str
    known_users: float
    known_items: float
    users: int
    users_left_out: int
    current: float | None
    candidate: float | None
    difference: float | None
    at_least: float | None
    margin: float
    confidence: float

    def __str__(self) -> str:
        known = (
            f"the model has {self.known_users:.1%} of the users and {self.known_items:.1%} of "
            f"the items of the served run {self.against}"
        )
        if self.difference is None or self.at_least is None:
            return f"{known}; no validation user to compare on"
        return (
            f"{self.metric} {self.candidate:.4f}, of the served run {self.current:.4f}, on "
            f"{self.users:,} users; difference {self.difference:+.4f}, at least "
            f"{self.at_least:+.4f} with confidence {self.confidence:g}, margin {self.margin:g}; "
            f"{known}"
        )


def judge(store: ArtifactStore, run: Run, config: RetrainConfig) -> Verdict:
    """Compare a retrained run with the one that is served for its data set.

    Raises:
        UserError: the retrained model cannot be read.
    """
    candidate = bundle.load(store.path(run.artifact("train")))
    try:
        served = of_data_set(store, run.config["name"])
        if served is None:
            return Verdict(True, "no run of this data set was served before", state=FIRST)
        model = bundle.load(store.path(served.artifact("train")))
    except UserError as error:
        advice = f"`brmrs promote {run.name}` serves this run all the same"
        return Verdict(False, f"{error}; {advice}", state=UNREADABLE)
    users, items = len(candidate.about.users), len(candidate.about.items)
    split = store.path(run.artifact("split"), SPLIT)
    validation = UserItems.read(split, VALIDATION, users, items)
    try:
        paired = measure_both(model, candidate, validation, config.metric)
    except UserError as error:
        return Verdict(False, str(error), state=NOT_COMPARABLE)
    found = replace(
        compare(paired, config, served.name),
        known_users=_known(model.user_index.keys(), candidate.user_index.keys()),
        known_items=_known(model.item_index.keys(), candidate.item_index.keys()),
    )
    state, why = decide(found, config)
    return Verdict(state == NOT_INFERIOR, f"{why}: {found}", asdict(found), state)


def decide(found: Comparison, config: RetrainConfig) -> tuple[str, str]:
    """The state of a comparison, and the reason. Only `NOT_INFERIOR` leads to promotion."""
    if min(found.known_users, found.known_items) < config.min_known_share:
        return UNKNOWN, f"the shares are below retrain.min_known_share {config.min_known_share:g}"
    if found.users < config.min_users:
        return FEW_USERS, f"{found.users:,} users, retrain.min_users is {config.min_users:,}"
    if found.at_least is not None and found.at_least > -found.margin:
        return NOT_INFERIOR, f"not worse by {found.margin:g} or more"
    return INFERIOR, f"it may be worse by {found.margin:g} or more"


def _known(served: Iterable[str], candidate: Container[str]) -> float:
    """Share of the served names that the candidate has; 1 if there are none."""
    known = [name in candidate for name in served]
    return sum(known) / len(known) if known else 1.0


def compare(paired: Paired, config: RetrainConfig, against: str) -> Comparison:
    """The paired bootstrap, for models with the same users and items."""
    n = len(paired.current)
    numbers: dict[str, float | None] = dict.fromkeys(
        ("current", "candidate", "difference", "at_least")
    )
    if n:
        differences = paired.candidate - paired.current
        means = bootstrap(differences, RESAMPLES, config.seed)
        numbers = {
            "current": float(paired.current.mean()),
            "candidate": float(paired.candidate.mean()),
            "difference": float(differences.mean()),
            "at_least": float(np.quantile(means, 1 - config.confidence)),
        }
    return Comparison(
        against=against,
        metric=config.metric,
        known_users=1.0,
        known_items=1.0,
        users=n,
        users_left_out=paired.users_left_out,
        **numbers,
        margin=config.margin,
        confidence=config.confidence,
    )


def measure_both(current: Bundle, candidate: Bundle, validation: UserItems, metric: str) -> Paired:
    """A metric of both models for each validation user, on shared users and items.

    Args:
        current: the served model.
        candidate: the retrained one.
        validation: in the dense ids of the candidate.
        metric: such as "recall@20".
    """
    users = sorted(current.user_index.keys() & candidate.user_index.keys())
    items = sorted(current.item_index.keys() & candidate.item_index.keys())
    old, new = (SharedCatalogue.of(model, users, items) for model in (current, candidate))
    masked = _union(old.moved(current.seen), new.moved(candidate.seen))
    held_out = new.moved(validation)
    fresh = ~masked.contain(held_out.users, held_out.items)
    held_out = UserItems.from_pairs(
        held_out.users[fresh], held_out.items[fresh], len(users), len(items)
    )
    k = int(metric.partition("@")[2])
    values = [measure(scorer, held_out, masked, (k,))[metric].numpy() for scorer in (old, new)]
    left_out = int((validation.counts > 0).sum()) - len(values[0])
    return Paired(values[0], values[1], left_out)


@dataclass(frozen=True)
class SharedCatalogue(Scorer):
    """One model's ranking of the users and items that both models know.

    Attributes:
        whole: the scorer of that model, for all its users and items.
        users: dense ids in that model; the position is the shared id.
        items: dense ids in that model; the position is the shared id.
    """

    whole: Scorer
    users: Tensor
    items: Tensor

    @classmethod
    def of(cls, model: Bundle, users: list[str], items: list[str]) -> "SharedCatalogue":
        """The ranking of a bundle's fused branch on these users and items."""
        return cls(
            model.fused,
            torch.tensor([model.user_index[name] for name in users], dtype=torch.int64),
            torch.tensor([model.item_index[name] for name in items], dtype=torch.int64),
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of shared users and items."""
        return len(self.users), len(self.items)

    def scores(self, users: Tensor) -> Tensor:
        """(B,) users to their (B, I) scores, all by shared ids."""
        return self.whole.scores(self.users[users])[:, self.items]

    def similarities(self, item: int) -> Tensor:
        """(I,) how much each item is like the given one, by shared ids."""
        return self.whole.similarities(int(self.items[item]))[self.items]

    def moved(self, sets: UserItems) -> UserItems:
        """The same sets by shared ids, without users and items that are not shared."""
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
