"""The ranking terms of BR-MRS, for any model with text, visual and fused branches.

L = bpr L_bpr(s_f) + chns L_chns(s_t, s_v) + synergy L_syn(s_f, s_t, s_v)      (docs/method.md, 2.6)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from torch import Tensor
from torch.nn.functional import embedding

from brmrs.columns import FUSED, MODALITIES, TEXT, VISUAL
from brmrs.config.models import RankingTerms
from brmrs.errors import UserError
from brmrs.models import losses
from brmrs.models.base import Batch, Branch
from brmrs.models.columns import WHOLE, Columns


@dataclass(frozen=True)
class Objective:
    """The ranking terms of a model.

    Attributes:
        settings: their weights; see `RankingTerms` for the fields.
    """

    settings: RankingTerms

    @classmethod
    def of(cls, settings: RankingTerms, modalities: tuple[str, ...]) -> Self:
        """The terms for a model with branches of these modalities.

        Raises:
            UserError: a weighted term needs a branch that the model lacks.
        """
        made = cls(settings)
        missing = [m for m in MODALITIES if m not in modalities]
        if made.of_branches and missing:
            raise UserError(
                f"objective.chns and objective.synergy need a text and a visual branch, and the "
                f"data have no {' and no '.join(missing)}; set both to 0"
            )
        return made

    @property
    def of_branches(self) -> bool:
        """Whether a term needs the scores of the text and the visual branch."""
        return self.settings.chns > 0 or self.settings.synergy > 0

    @property
    def drawn(self) -> int:
        """Uniform negatives to draw for each positive: the pool of CHNS, or the one of BPR."""
        return self.settings.pool if self.settings.chns > 0 else 1

    def loss(
        self,
        batch: Batch,
        branches: Mapping[str, Branch],
        present: Mapping[str, Tensor],
        columns: Columns = WHOLE,
    ) -> dict[str, Tensor]:
        """The weighted terms of a batch.

        Args:
            batch: with `drawn` negatives.
            branches: the fused one, and the text and the visual one where `of_branches`.
            present: (I,) bool by modality, the items that have it.
            columns: those of the branches that this process holds.
        """
        triples = batch.triples
        wanted = (FUSED, TEXT, VISUAL) if self.of_branches else (FUSED,)
        products = [
            (
                embedding(batch.users, branches[name].p).unsqueeze(1)
                * embedding(triples, branches[name].q)
            ).sum(dim=-1)
            for name in wanted
        ]
        scores = dict(zip(wanted, columns.sums(*products), strict=True))
        return self.terms(scores, {m: mask[triples] for m, mask in present.items()})

    def terms(self, scores: Mapping[str, Tensor], has: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weighted terms of those whose weight is above 0.

        The uniform i- of the synergy and BPR terms is the first candidate: the pool is uniform.

        Args:
            scores: (B, 1 + n) scores of triples, column 0 the positive, by branch; the text and
                the visual ones only where `of_branches`.
            has: (B, 1 + n) bool by modality, whether the item has it; a modality that is not named
                is present for all.
        """
        fused, settings = scores[FUSED], self.settings
        terms = {}
        if settings.bpr > 0:
            terms["bpr"] = settings.bpr * losses.bpr(fused[:, 0], fused[:, 1])
        if settings.chns > 0:
            terms["chns"] = settings.chns * losses.chns(
                scores[TEXT][:, 0],
                scores[VISUAL][:, 0],
                scores[TEXT][:, 1:],
                scores[VISUAL][:, 1:],
                has.get(TEXT),
                has.get(VISUAL),
                sampler=settings.sampler,
            )
        if settings.synergy > 0:
            delta = {branch: s[:, 0] - s[:, 1] for branch, s in scores.items()}
            terms["synergy"] = settings.synergy * losses.synergy(
                delta[FUSED],
                delta[TEXT],
                delta[VISUAL],
                settings.theta,
                *(has[m][:, :2].all(dim=1) if m in has else None for m in (TEXT, VISUAL)),
                detach=settings.detach_reference,
            )
        return terms
