"""BR-MRS (method/000, 001)."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from brmrs.columns import FUSED, TEXT, VISUAL
from brmrs.graphs.sparse import SparseMatrix
from brmrs.graphs.unit_rows import unit_rows
from brmrs.models import losses
from brmrs.models.base import Batch, Branch, Recommender, TrainingData
from brmrs.models.frozen_features import principal
from brmrs.models.initialise import xavier
from brmrs.models.objective import Objective
from brmrs.models.propagation import drop_edges, lightgcn


class BRMRS(Recommender):
    """Multimodal recommendation that models modality inconsistency in the BPR loss.

    Each modality m is a channel with layer-0 embeddings of its own: a free embedding per user;
    W_m x_i^m plus (unless turned off) a free embedding per item, x_i^m the unit-length features in
    their leading `feature_dim` directions (every step projects all items, so 4096 would cost more
    than all the rest). The homogeneous graphs smooth
    them, e <- e + G e per layer; then LightGCN propagates over the user-item graph and the mean
    of the layers gives p_u^m, q_i^m. The channels lie side by side, (U, M d), in one product.

    Fusion phi, the same for users and items: concat [t; v], so that s_f = s_t + s_v; mean
    (t + v) / 2; gate g * t + (1 - g) * v with g = sigma(W [t; v] + b).

        L = lambda_h L_chns + lambda_s L_syn + bpr L_bpr(s_f) + lambda |Theta|^2

    (method/000, 'overall objective'; the plain BPR term is the drafts' optional third.) |Theta|^2
    is taken over the layer-0 embeddings of the batch's rows, projected features included. The
    uniform i- of the synergy and BPR terms is the first candidate of N(u): the pool is uniform.

    An item without modality m has no projected feature; its free embedding and its neighbours
    still place it in the channel. `losses.chns` says what its pairs do there.

    With one modality alone that channel is the fused branch as well. Nothing is left to cross or
    to fuse, so the objective is its BPR, with weight `bpr`, or 1 where that is 0.

    Args:
        data: the training split, features of at least one modality, both homogeneous graphs.
        seed: of the parameters.
        dim: d, of one channel.
        feature_dim: principal directions kept of each modality's features.
        layers: L, of LightGCN over the user-item graph.
        item_layers: over G_ii.
        user_layers: over G_uu.
        id_embeddings: whether items have a free embedding beside the projected features.
        fusion: phi.
        regularization: lambda.
        edge_dropout: share of the user-item edges left out, drawn anew each epoch of training.
        ranking_terms: the fields of `objective.Objective`; its pool is drawn even where chns is 0.
    """

    needs = frozenset({"features", "item_graph", "user_graph"})
    tables_held = 24

    def __init__(
        self,
        data: TrainingData,
        *,
        seed: int,
        dim: int,
        feature_dim: int,
        layers: int,
        item_layers: int,
        user_layers: int,
        id_embeddings: bool,
        fusion: str,
        regularization: float,
        edge_dropout: float,
        **ranking_terms: Any,
    ):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.data = data
        self.modalities = tuple(m for m in (TEXT, VISUAL) if m in data.features)
        self.features = {
            m: principal(unit_rows(data.features[m]), feature_dim, generator)
            for m in self.modalities
        }
        width = len(self.modalities) * dim
        self.users = xavier(data.users, width, generator)
        self.items = xavier(data.items, width, generator) if id_embeddings else None
        self.projections = nn.ParameterDict(
            {m: xavier(x.shape[1], dim, generator) for m, x in self.features.items()}
        )
        self.fusion = _Fusion(fusion, dim, generator) if len(self.modalities) > 1 else None
        self.dim = dim
        self.layers, self.item_layers, self.user_layers = layers, item_layers, user_layers
        self.objective = Objective(**ranking_terms)
        self.regularization, self.edge_dropout = regularization, edge_dropout
        self.negatives = self.objective.pool
        self.propagated_over = data.user_item
        self.to(data.device)

    def begin_epoch(self, generator: torch.Generator) -> None:
        """Draw the epoch's edges."""
        if self.edge_dropout > 0:
            data = self.data
            shape = (data.users, data.items)
            self.propagated_over = drop_edges(
                data.train_users, data.train_items, shape, self.edge_dropout, generator
            )

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """The weighted terms whose weight is above 0, and L2."""
        users, items = self._layer_zero()
        p, q = self._propagate(self.propagated_over, users, items)
        triples = batch.triples
        p, q = embedding(batch.users, p).unsqueeze(1), embedding(triples, q)
        rows = embedding(batch.users, users), embedding(triples, items)
        terms = self._ranking_terms(triples, p, q)
        terms["l2"] = self.regularization * losses.l2(*rows)
        return terms

    def branches(self) -> dict[str, Branch]:
        """One branch per modality, and the fused one; on the full graph."""
        p, q = self._propagate(self.data.user_item, *self._layer_zero())
        branches = {
            m: Branch(self._channel(p, n), self._channel(q, n))
            for n, m in enumerate(self.modalities)
        }
        if self.fusion is None:
            return {FUSED: branches[self.modalities[0]], **branches}
        return {FUSED: Branch(self.fusion(p), self.fusion(q)), **branches}

    def _layer_zero(self) -> tuple[Tensor, Tensor]:
        """(U, M d) and (I, M d) embeddings before any propagation."""
        projected = [x @ self.projections[m] for m, x in self.features.items()]
        items = torch.cat(projected, dim=1)
        return self.users, items if self.items is None else items + self.items

    def _propagate(
        self, user_item: SparseMatrix, users: Tensor, items: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Homogeneous graphs first, then the user-item graph: (U, M d), (I, M d)."""
        users = _smooth(self.data.user_graph, users, self.user_layers)
        items = _smooth(self.data.item_graph, items, self.item_layers)
        p, q = lightgcn(user_item, users, items, self.layers)
        return p, q

    def _ranking_terms(self, triples: Tensor, p: Tensor, q: Tensor) -> dict[str, Tensor]:
        """BPR, CHNS and synergy of (B, 1 + n) triples, column 0 the positive.

        Args:
            triples: (B, 1 + n) items.
            p: (B, 1, M d) users.
            q: (B, 1 + n, M d) the items.
        """
        if self.fusion is None:
            weight, scores = self.objective.bpr or 1.0, (p * q).sum(dim=-1)
            return {"bpr": weight * losses.bpr(scores[:, 0], scores[:, 1])}
        by_channel = (p * q).reshape(*triples.shape, 2, self.dim)
        s_t, s_v = by_channel.sum(dim=-1).unbind(-1)
        if self.fusion.kind == "concat":
            s_f = s_t + s_v
        else:
            s_f = (self.fusion(p) * self.fusion(q)).sum(dim=-1)
        has = {m: self.data.present[m][triples] for m in self.modalities}
        return self.objective.terms({FUSED: s_f, TEXT: s_t, VISUAL: s_v}, has)

    def _channel(self, table: Tensor, n: int) -> Tensor:
        """(rows, d) view of channel n."""
        return table[:, n * self.dim : (n + 1) * self.dim]


def _smooth(graph: SparseMatrix | None, e: Tensor, layers: int) -> Tensor:
    """`layers` times e <- e + G e: a node keeps itself, one without neighbours entirely."""
    assert graph is not None  # the class needs both graphs
    for _ in range(layers):
        e = e + graph @ e
    return e


class _Fusion(nn.Module):
    """phi: (..., 2 d) channels side by side to the fused (..., d), or (..., 2 d) for concat."""

    def __init__(self, kind: str, dim: int, generator: torch.Generator):
        super().__init__()
        self.kind = kind
        if kind == "gate":
            self.weight = xavier(2 * dim, dim, generator)
            self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, channels: Tensor) -> Tensor:
        if self.kind == "concat":
            return channels
        t, v = channels.chunk(2, dim=-1)
        if self.kind == "mean":
            return (t + v) / 2
        gate = torch.sigmoid(channels @ self.weight + self.bias)
        return gate * t + (1 - gate) * v
