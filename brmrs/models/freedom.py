"""FREEDOM (Zhou and Shen, ACM Multimedia 2023)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from brmrs.columns import FUSED, TEXT, VISUAL
from brmrs.errors import UserError
from brmrs.graphs import modality
from brmrs.graphs.sparse import SparseMatrix
from brmrs.models import losses
from brmrs.models.base import Batch, Branch, Recommender, TrainingData
from brmrs.models.frozen_features import projected_differences
from brmrs.models.initialise import xavier
from brmrs.models.objective import Objective
from brmrs.models.propagation import drop_edges, lightgcn


class FREEDOM(Recommender):
    """Zhou and Shen 2023, 'A Tale of Two Graphs: Freezing and Denoising Graph Structures ...'.

    Frozen item graph: per modality the unweighted graph of the k nearest items and the item
    itself, normalised D^-1/2 S D^-1/2, then S = (1 - a_v) S_t + a_v S_v. Denoised user-item graph:
    each epoch keeps a degree-sensitive sample of the edges; the full graph ranks. h_i =
    (S^L_ii E_I)_i; LightGCN's mean over the layers gives p_u and q_i; the item is q_i + h_i.

        L = L_bpr(<p_u, q_i + h_i>) + lambda sum_m L_bpr(<p_u, W_m x_i^m>)

    Branches: the view that one modality's graph gives of an item, s_m = <p_u, (S_m^L_ii E_I)_i>.
    (With one item layer s_f = <p_u, q_i> + sum_m a_m s_m; adding q_i to each branch would make s_f
    their convex combination, whose margin can never exceed the better of the two.)

    Deviations: k neighbours and the item itself, where the released code's k counts the item, as
    the nearest to itself; features stay as they are, where the released code trains them with the
    rest; pairs of which an item lacks m leave that modality's feature loss; no bias beside W_m,
    which a difference of scores never sees.

    Args:
        data: the training split, a graph of at least one modality.
        seed: of the parameters.
        dim: d.
        layers: of LightGCN.
        item_layers: L_ii.
        visual_weight: a_v; 1 for the modality that is alone.
        edge_dropout: share of the user-item edges left out, drawn anew each epoch of training.
        feature_loss: lambda.
        objective: weights of the ranking terms on s_f and the branches.
    """

    needs = frozenset({"modality_graphs"})

    def __init__(
        self,
        data: TrainingData,
        *,
        seed: int,
        dim: int,
        layers: int,
        item_layers: int,
        visual_weight: float,
        edge_dropout: float,
        feature_loss: float,
        objective: Mapping[str, Any],
    ):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.users = xavier(data.users, dim, generator)
        self.items = xavier(data.items, dim, generator)
        self.data = data
        self.graphs = {m: _frozen(graph) for m, graph in data.modality_graphs.items()}
        weights = {TEXT: 1 - visual_weight, VISUAL: visual_weight}
        alone = len(self.graphs) == 1
        self.graph = modality.mixture(
            (1.0 if alone else weights[m], graph) for m, graph in self.graphs.items()
        )
        self.projections = nn.ParameterDict()
        if feature_loss > 0:
            if not data.features:
                raise UserError("freedom's feature loss needs features; set model.feature_loss=0")
            for m, x in sorted(data.features.items()):
                self.projections[m] = xavier(x.shape[1], dim, generator)
        self.layers, self.item_layers = layers, item_layers
        self.edge_dropout, self.feature_loss = edge_dropout, feature_loss
        self.objective = Objective.of(objective, tuple(self.graphs))
        self.negatives = self.objective.drawn
        self.propagated_over = data.user_item
        self.to(data.device)

    def begin_epoch(self, generator: torch.Generator) -> None:
        """Draw the epoch's edges."""
        if self.edge_dropout > 0:
            data = self.data
            self.propagated_over = drop_edges(
                data.train_users,
                data.train_items,
                (data.users, data.items),
                self.edge_dropout,
                generator,
            )

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """The objective's terms, and the feature loss of each modality."""
        branches = self._branches(self.propagated_over, unimodal=self.objective.of_branches)
        terms = self.objective.loss(batch, branches, self.data.present)
        p = embedding(batch.users, branches[FUSED].p)
        pairs = batch.triples[:, :2]
        for m, projection in self.projections.items():
            s = (p * projected_differences(pairs, self.data.features[m], projection)).sum(dim=-1)
            kept = self.data.present[m][pairs].all(dim=1)
            terms[f"feature_{m}"] = self.feature_loss * losses.bpr(s, torch.zeros_like(s), kept)
        return terms

    def branches(self) -> dict[str, Branch]:
        """The fused branch and one per modality; on the full graph."""
        return self._branches(self.data.user_item, unimodal=True)

    def _branches(self, user_item: SparseMatrix, *, unimodal: bool) -> dict[str, Branch]:
        p, q = lightgcn(user_item, self.users, self.items, self.layers)
        branches = {FUSED: Branch(p, q + self._view(self.graph))}
        if unimodal:
            branches |= {m: Branch(p, self._view(graph)) for m, graph in self.graphs.items()}
        return branches

    def _view(self, graph: SparseMatrix) -> Tensor:
        """(I, d) item embeddings, propagated over an item graph."""
        h: Tensor = self.items
        for _ in range(self.item_layers):
            h = graph @ h
        return h


def _frozen(graph: SparseMatrix) -> SparseMatrix:
    """D^-1/2 S D^-1/2 of the unweighted graph with self loops."""
    return modality.symmetric(modality.unweighted(modality.with_self_loops(graph)))
