"""What MGCN, SMORE and GUME share: item ids gated by content, propagated over item graphs.

Users and items are stacked into (U + I, d) tensors, users first.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

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


def view(data: TrainingData, graph: SparseMatrix, items: Tensor, layers: int) -> Tensor:
    """(U + I, d): items propagated over an item graph, users as D^-1/2 R D^-1/2 times these.

    Args:
        data: for its user-item graph.
        graph: (I, I).
        items: (I, d).
        layers: propagation steps over `graph`.
    """
    h = items
    for _ in range(layers):
        h = graph @ h
    return torch.cat([data.user_item @ h, wide(h)])


def gate(dim: int, generator: torch.Generator) -> nn.Sequential:
    """sigma(W x + b), (n, dim) to (n, dim)."""
    return nn.Sequential(linear(dim, dim, generator), nn.Sigmoid())


def contrast(side: Tensor, ids: Tensor, batch: Batch, n_users: int, temperature: float) -> Tensor:
    """InfoNCE between two (U + I, d) tables, of the batch's users plus of its positives."""
    nodes = (batch.users, n_users + batch.positives)
    terms = [
        losses.info_nce(embedding(rows, side), embedding(rows, ids), temperature) for rows in nodes
    ]
    return torch.stack(terms).sum()


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
        """(n, d): E, from the (n, d) views E_m in the order of the modalities and (n, d) E_id."""
        logits = [torch.tanh(self.hidden(each)) @ self.query for each in views]
        weights = wide(torch.stack(logits)).softmax(dim=0)  # (|M|, n, 1)
        shared = (weights * torch.stack(list(views))).sum(dim=0)
        parts = [shared]
        for prefer, each in zip(self.preferences.values(), views, strict=True):
            parts.append(prefer(ids) * (each - shared))
        return torch.stack(parts).mean(dim=0)
