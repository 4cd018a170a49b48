"""The ranking objective of BR-MRS as a plug-in for any model with text, visual and fused branches.

L = bpr L_bpr(s_f) + chns L_chns(s_t, s_v) + synergy L_syn(s_f, s_t, s_v)      (method/000)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from torch import Tensor
from torch.nn.functional import embedding

from brmrs.columns import FUSED, MODALITIES, TEXT, VISUAL
from brmrs.errors import UserError
from brmrs.models import losses
from brmrs.models.base import Batch, Branch
from brmrs.models.losses import Negatives


@dataclass(frozen=True)
class Objective:
    """Weights of the ranking terms; `model_config.RankingTerms` says what each is."""

    bpr: float
    chns: float
    synergy: float
    theta: float
    pool: int
    detach_reference: bool
    negatives: Negatives

    @classmethod
    def of(cls, values: Mapping[str, Any], modalities: tuple[str, ...]) -> Self:
        """From the configuration, for a model with branches of these modalities.

        Raises:
            UserError: a weighted term asks for a branch that is not there.
        """
        made = cls(**values)
        missing = [m for m in MODALITIES if m not in modalities]
        if made.of_branches and missing:
            raise UserError(
                f"objective.chns and objective.synergy need a text and a visual branch, and the "
                f"data have no {' and no '.join(missing)}; set both to 0"
            )
        return made

    @property
    def of_branches(self) -> bool:
        """Whether a term asks for the scores of the text and the visual branch."""
        return self.chns > 0 or self.synergy > 0

    @property
    def drawn(self) -> int:
        """Uniform negatives to draw for each positive: the pool of CHNS, or the one of BPR."""
        return self.pool if self.chns > 0 else 1

    def loss(
        self, batch: Batch, branches: Mapping[str, Branch], present: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """The weighted terms of a batch.

        Args:
            batch: with `drawn` negatives.
            branches: the fused one, and the text and the visual one where `of_branches`.
            present: (I,) bool by modality, the items that have it.
        """
        triples = batch.triples
        wanted = (FUSED, TEXT, VISUAL) if self.of_branches else (FUSED,)
        scores = {
            name: (
                embedding(batch.users, branches[name].p).unsqueeze(1)
                * embedding(triples, branches[name].q)
            ).sum(dim=-1)
            for name in wanted
        }
        return self.terms(scores, {m: mask[triples] for m, mask in present.items()})

    def terms(self, scores: Mapping[str, Tensor], has: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weighted terms of those whose weight is above 0.

        The uniform i- of the synergy and BPR terms is the first candidate: the pool is uniform.

        Args:
            scores: (B, 1 + n) scores of triples, column 0 the positive, by branch; the text and
                the visual ones only where `of_branches`.
            has: (B, 1 + n) bool by modality, whether the item has it; a modality that is not named
                is had by all.
        """
        fused = scores[FUSED]
        terms = {}
        if self.bpr > 0:
            terms["bpr"] = self.bpr * losses.bpr(fused[:, 0], fused[:, 1])
        if self.chns > 0:
            terms["chns"] = self.chns * losses.chns(
                scores[TEXT][:, 0],
                scores[VISUAL][:, 0],
                scores[TEXT][:, 1:],
                scores[VISUAL][:, 1:],
                has.get(TEXT),
                has.get(VISUAL),
                negatives=self.negatives,
            )
        if self.synergy > 0:
            delta = {branch: s[:, 0] - s[:, 1] for branch, s in scores.items()}
            terms["synergy"] = self.synergy * losses.synergy(
                delta[FUSED], delta[TEXT], delta[VISUAL], self.theta, detach=self.detach_reference
            )
        return terms
