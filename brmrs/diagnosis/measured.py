"""What all numbers of the diagnosis are made of: arrays over the test pairs."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from brmrs.columns import MODALITIES, TEXT, VISUAL
from brmrs.config.learning import DiagnosisConfig
from brmrs.diagnosis import confusion, information, samplers
from brmrs.diagnosis.bootstrap import Floats, Ints
from brmrs.diagnosis.confusion import Cosines
from brmrs.diagnosis.groups import Group
from brmrs.diagnosis.scan import Scan
from brmrs.diagnosis.schemas import ABOVE, UNIFORM
from brmrs.graphs.user_items import UserItems


@dataclass(frozen=True)
class Measured:
    """The scans, and what is derived from them once.

    Attributes:
        validation: scan of the validation pairs.
        test: scan of the P test pairs.
        held_out: the validation and the test items.
        train: the training items.
        config: k, the top share, the seed.
        pool: candidates of CHNS.
        all_ranked: whether all items are ranked, as negatives are drawn from them in training.
        groups: of the test pairs.
        types: (P,) planted types, None where unknown; None without truth.
        cosines: None if the run lacks the features of a modality.
    """

    validation: Scan
    test: Scan
    held_out: Mapping[int, UserItems]
    train: UserItems
    config: DiagnosisConfig
    pool: int
    all_ranked: bool
    groups: list[Group]
    types: NDArray[np.object_] | None
    cosines: Cosines | None

    @property
    def both_branches(self) -> bool:
        """Whether there are a text and a visual branch."""
        return set(MODALITIES) <= set(self.test.scores)

    @cached_property
    def users(self) -> Ints:
        """(P,) the places of the pairs' users among the users with pairs."""
        return self.test.rows.numpy()

    @cached_property
    def positives(self) -> Tensor:
        """(P,) the held-out items."""
        return self.test.items[:, 0]

    @cached_property
    def hits(self) -> dict[str, Floats]:
        """By branch, (P,) 1 where the item is in the first K, else 0."""
        return {
            name: (ranks.numpy() <= self.config.k).astype(float)
            for name, ranks in self.test.ranks.items()
        }

    @cached_property
    def sets(self) -> Ints:
        """(P,) places in `schemas.SETS`."""
        return confusion.set_of_each(self.test.ranks, self.config.k)

    @cached_property
    def above(self) -> Tensor:
        """(P, K) bool, the negatives above the positive in the fused list."""
        return confusion.negatives_above(self.test, self.held_out)

    @cached_property
    def lists(self) -> Tensor:
        """(P, K) the fused list of each pair's user."""
        return self.test.lists[self.test.rows]

    @cached_property
    def margins(self) -> dict[str, tuple[Tensor, Tensor]]:
        """By branch, Delta: (P, K) against the fused list, (P, n) against the drawn negatives."""
        return {name: confusion.margins(self.test, name) for name in self.test.scores}

    @cached_property
    def units(self) -> dict[str, float]:
        """By branch, the standard deviation of the margins against uniform negatives; 1 if 0."""
        return {
            name: float(drawn.double().std(unbiased=False)) or 1.0 if drawn.numel() else 1.0
            for name, (_, drawn) in self.margins.items()
        }

    @cached_property
    def drawn(self) -> dict[str, Tensor]:
        """By sampler, (P, 1) the place of its negative among the drawn ones."""
        return samplers.chosen(self.test, self.pool)

    @cached_property
    def compared(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Kind of negatives to (P, n) bool: compared by cosine, and confused by exactly one.

        Empty without cosines.
        """
        if self.cosines is None:
            return {}
        found = {}
        for kind, others, kept in (
            (ABOVE, self.lists, self.above),
            (UNIFORM, self.test.items[:, 1:2], None),
        ):
            comparable = self.cosines.comparable(self.positives, others)
            comparable &= others != self.positives.unsqueeze(1)
            if kept is not None:
                comparable &= kept
            confused = {
                m: self.cosines.confuse(m, self.positives, others, comparable) for m in MODALITIES
            }
            found[kind] = (comparable, confusion.exactly_one(confused))
        return found

    @cached_property
    def bits(self) -> Floats | None:
        """(P, 4) see `information.bits_of_pairs`; None without validation or test pairs."""
        if not len(self.validation.items) or not len(self.test.items):
            return None
        return information.bits_of_pairs(self.validation, self.test)

    def against(self, kind: str) -> tuple[dict[str, Tensor], Tensor]:
        """The margins against one kind of negatives, and which of them count.

        Args:
            kind: of `schemas.NEGATIVES`.

        Returns:
            By branch the (P, n) margins, and (P, n) bool.
        """
        if kind == ABOVE:
            return {name: against for name, (against, _) in self.margins.items()}, self.above
        place = self.drawn[kind]
        found = {name: drawn.gather(1, place) for name, (_, drawn) in self.margins.items()}
        return found, place >= 0

    def margin_pairs(self, kind: str) -> tuple[Floats, Floats]:
        """The text and the visual margins that count, in units of `units`: (N,) each."""
        margins, kept = self.against(kind)
        text, visual = (
            margins[name][kept].double().numpy() / self.units[name] for name in (TEXT, VISUAL)
        )
        return text, visual
