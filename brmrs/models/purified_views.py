"""What MGCN, SMORE and GUME share: item ids gated by content, propagated over item graphs.

Users and items are stacked into (U + I, d) tables, users first. What follows the propagation works
row by row, so training computes it for the rows of the batch only, ranking for all.
"""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from brmrs.graphs import modality
from brmrs.graphs.sparse import SparseMatrix, wide
from brmrs.models import losses
from brmrs.models.base import Batch, TrainingData
from brmrs.models.initialise import linear, xavier


def modalities_of(data: TrainingData) -> tuple[str, ...]:
    """Those that have features and a graph, sorted."""
    return tuple(sorted(m for m in data.modality_graphs if m in data.features))


def cosine_graph(cosines: SparseMatrix, present: Tensor) -> SparseMatrix:
    """S_m = D^-1/2 W D^-1/2, W the cosines of each item with its nearest and with itself.

    Args:
        cosines: (I, I), of each item with its nearest others.
        present: (I,) bool, the items that have the modality.
    """
    return modality.symmetric(modality.with_self_loops(cosines, present.nonzero().squeeze(1)))


def gate(dim: int, generator: torch.Generator) -> nn.Sequential:
    """sigma(W x + b), (..., dim) to (..., dim)."""
    return nn.Sequential(linear(dim, dim, generator), nn.Sigmoid())


def views(
    user_item: SparseMatrix,
    graphs: Mapping[str, SparseMatrix],
    items: Mapping[str, Tensor],
    layers: int,
) -> list[Tensor]:
    """(U + I, d) for each graph: items propagated over it, users as the sum of their items.

    Args:
        user_item: (U, I) D^-1/2 R D^-1/2.
        graphs: (I, I) by name.
        items: (I, d) by name, what to propagate.
        layers: propagation steps over the item graphs.
    """
    propagated = []
    for name, graph in graphs.items():
        h = items[name]
        for _ in range(layers):
            h = graph @ h
        propagated.append(wide(h))
    width = propagated[0].shape[1]
    users = torch.split(user_item @ torch.cat(propagated, dim=1), width, dim=1)  # one product
    return [torch.cat(parts) for parts in zip(users, propagated, strict=True)]


def rows_of(batch: Batch, n_users: int) -> Tensor:
    """(B, 2 + n) rows of a (U + I, d) table: the user, the positive, the negatives."""
    return torch.cat([batch.users.unsqueeze(1), n_users + batch.triples], dim=1)


def ranking_terms(
    ids: Tensor, side: Tensor, temperature: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """BPR and L2 of ids + side, InfoNCE of side and ids for the users plus the positives.

    Args:
        ids: (B, 3, d) rows as `rows_of` has them, with one negative.
        side: (B, 3, d), the same of the fused views.
        temperature: tau of InfoNCE.

    Returns:
        The three terms, and the (B, d) users of `side`.
    """
    final = ids + side
    user, positive, negative = final.unbind(1)
    of_ids, of_side = ids.unbind(1), side.unbind(1)
    contrast = [
        losses.info_nce(of_side[node], of_ids[node], temperature)
        for node in (0, 1)  # the user, the positive
    ]
    bpr = losses.bpr((user * positive).sum(dim=-1), (user * negative).sum(dim=-1))
    return bpr, torch.stack(contrast).sum(), losses.l2(final), of_side[0]


class BehaviourAwareFuser(nn.Module):
    """The views of the modalities as one, weighed by the ids (MGCN, Yu 2023; GUME, Lin 2024).

        alpha_m = softmax_m(w^T tanh(W_1 E_m + b_1)),  E_s = sum_m alpha_m E_m
        P_m = sigma(W_m E_id + b_m),  E = (E_s + sum_m P_m * (E_m - E_s)) / (1 + |M|)

    Attributes:
        preferences: P_m of each modality.
    """

    def __init__(self, modalities: Iterable[str], dim: int, generator: torch.Generator):
        super().__init__()
        self.hidden = linear(dim, dim, generator)
        self.query = xavier(dim, 1, generator)
        self.preferences = nn.ModuleDict({m: gate(dim, generator) for m in modalities})

    def forward(self, views: Sequence[Tensor], ids: Tensor) -> Tensor:
        """(..., d): E, from (..., d) views E_m in the order of the modalities and (..., d) E_id."""
        logits = [torch.tanh(self.hidden(each)) @ self.query for each in views]
        weights = wide(torch.stack(logits)).softmax(dim=0)  # (|M|, ..., 1)
        shared = (weights * torch.stack(list(views))).sum(dim=0)
        parts = [shared]
        for prefer, each in zip(self.preferences.values(), views, strict=True):
            parts.append(prefer(ids) * (each - shared))
        return torch.stack(parts).mean(dim=0)
