"""Parts of MGCN, SMORE, GUME and PGL on the six by five, written out with dense matrices."""

import torch
from six_by_five import (
    COSINES,
    ITEMS,
    USERS,
    adjacency,
    affine,
    symmetrically_normalised,
    triples,
    unit,
)
from torch import Tensor, nn

from brmrs.models.base import TrainingData
from brmrs.models.purified_views import BehaviourAwareFuser


def sigmoid_of(gate: nn.Module, x: Tensor) -> Tensor:
    """sigma(W x + b) of a gate, entry by entry."""
    assert isinstance(gate, nn.Sequential)
    return 1 / (1 + torch.exp(-affine(gate[0], x)))


def cosine_graph(data: TrainingData, m: str) -> Tensor:
    """S_m, with loops of the items that have the modality."""
    weights = torch.tensor(COSINES[m]).double()
    for i in range(ITEMS):
        if data.present[m][i]:
            weights[i, i] = 1
    return symmetrically_normalised(weights)


def view(graph: Tensor, items: Tensor, layers: int) -> Tensor:
    """(U + I, d) E_m of gated items."""
    propagated = torch.linalg.matrix_power(graph, layers) @ items
    users = symmetrically_normalised(adjacency())[:USERS, USERS:] @ propagated
    return torch.cat([users, propagated])


def purified(data: TrainingData, m: str, ids: Tensor, w: nn.Module, gate: nn.Module) -> Tensor:
    """(I, d): each id times the gate of the projected features; 0 without the modality."""
    rows = []
    for i in range(ITEMS):
        row = ids[i] * sigmoid_of(gate, affine(w, data.features[m][i]))
        rows.append(row if data.present[m][i] else torch.zeros_like(row))
    return torch.stack(rows)


def fused(fuser: BehaviourAwareFuser, views: dict[str, Tensor], ids: Tensor) -> Tensor:
    """(U + I, d) E_s, node by node."""
    rows = []
    for n in range(USERS + ITEMS):
        logits = {
            m: (fuser.query[:, 0] * torch.tanh(affine(fuser.hidden, e[n]))).sum()
            for m, e in views.items()
        }
        total = torch.stack([torch.exp(a) for a in logits.values()]).sum()
        parts = [torch.exp(logits[m]) / total * e[n] for m, e in views.items()]
        shared = torch.stack(parts).sum(dim=0)
        result = shared
        for m, e in views.items():
            result = result + sigmoid_of(fuser.preferences[m], ids[n]) * (e[n] - shared)
        rows.append(result / (1 + len(views)))
    return torch.stack(rows)


def literal_info_nce(x: Tensor, y: Tensor, tau: float) -> Tensor:
    """Mean over b of -log(exp(cos(x_b, y_b) / tau) / sum_c exp(cos(x_b, y_c) / tau))."""
    terms = []
    for b in range(len(x)):
        similar = [torch.exp((unit(x[b]) * unit(row)).sum() / tau) for row in y]
        terms.append(-torch.log(similar[b] / torch.stack(similar).sum()))
    return torch.stack(terms).mean()


def batch_users(table: Tensor) -> Tensor:
    """(B, d) rows of the batch's users, of a (U + I, d) table."""
    return torch.stack([table[u] for u, _, _ in triples()])


def batch_positives(table: Tensor) -> Tensor:
    """(B, d) rows of the batch's positives, of a (U + I, d) table."""
    return torch.stack([table[USERS + i] for _, i, _ in triples()])


def literal_contrast(side: Tensor, ids: Tensor, tau: float) -> Tensor:
    """InfoNCE of the users plus that of the positives."""
    of_users = literal_info_nce(batch_users(side), batch_users(ids), tau)
    return of_users + literal_info_nce(batch_positives(side), batch_positives(ids), tau)
