"""PGL (Yu et al., AAAI 2025)."""

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import embedding

from brmrs.columns import FUSED, TEXT, VISUAL
from brmrs.config.models import ModelSection
from brmrs.config.section import Rate, Share, Weight
from brmrs.extensions import register
from brmrs.graphs import modality
from brmrs.graphs.sparse import SparseMatrix
from brmrs.graphs.unit_rows import unit_rows
from brmrs.models import losses, purified_views
from brmrs.models.base import Batch, Branch, Recommender, TrainingData
from brmrs.models.initialise import projections, tables
from brmrs.models.propagation import drop_edges, lightgcn


@register("pgl")
class PGL(Recommender):
    """Yu et al. 2025, 'Mind Individual Information! Principal Graph Learning for Multimedia ...'.

    An item has no id: x_i joins W_m x_i^m + b_m of all modalities, each of length 1. A user has a
    free vector of the same length. Each training epoch propagates over a principal subgraph of the
    user-item graph, here the local-aware one: a sample of the edges, drawn with probability
    proportional to 1 / sqrt(d_u d_i). Ranking uses all edges.

        p, q' = LightGCN of users and x,  q = q' + S^L_ii x,  S = (1 - a_v) S_t + a_v S_v
        L = L_bpr(<p_u, q_i>) + lambda (InfoNCE of two dropouts of p_u + the same of q_i) / 2

    S_m is FREEDOM's frozen graph of a modality.

    Deviations: k counts the neighbours without the item itself; the released code counts the item.
    The features stay fixed; the released code trains them. The global-aware subgraph (a product of
    singular vectors) is left out; the released code does not use it by default. A modality that an
    item lacks is a zero part of x_i.
    """

    class Config(ModelSection):
        """Hyper-parameters."""

        dim: int = Field(64, gt=0)
        """d: length of a modality's part of an embedding."""
        layers: int = Field(2, ge=0)
        """LightGCN propagation steps over the user-item graph."""
        item_layers: int = Field(1, ge=0)
        """L_ii: propagation steps over the frozen item graph."""
        visual_weight: Share = 0.1
        """a_v: weight of the visual graph; the text graph has the rest. No effect where only one
        modality has a graph."""
        edge_dropout: Rate = 0.7
        """Share of the user-item edges left out, drawn anew in each training epoch."""
        contrast: Weight = 0.05
        """lambda: weight of InfoNCE between two dropouts of a representation."""
        temperature: float = Field(0.2, ge=0.02)
        """tau of InfoNCE."""
        dropout: Rate = 0.2
        """Share of entries dropped in each of the two."""

    needs = ("features", "modality_graphs")
    user_tables = ("users.text", "users.visual")
    item_tables = ()
    tables_held = 20

    def __init__(self, data: TrainingData, config: Config, *, seed: int):
        super().__init__()
        generator, dim = torch.Generator().manual_seed(seed), config.dim
        self.modalities = purified_views.modalities_of(data)
        features = {m: data.features[m] for m in self.modalities}
        self.users = tables(self.modalities, data.users, dim, generator)
        self.projections = projections(features, dim, generator)
        weights = {TEXT: 1 - config.visual_weight, VISUAL: config.visual_weight}
        single = len(self.modalities) == 1
        self.graph = modality.mixture(
            (1.0 if single else weights[m], modality.frozen(data.modality_graphs[m]))
            for m in self.modalities
        )
        self.data, self.layers, self.item_layers = data, config.layers, config.item_layers
        self.edge_dropout, self.dropout = config.edge_dropout, config.dropout
        self.contrast, self.temperature = config.contrast, config.temperature
        self.propagated_over = data.user_item
        self.to(data.device)

    def begin_epoch(self, generator: torch.Generator) -> None:
        """Draw the epoch's edges."""
        data = self.data
        if self.edge_dropout > 0:
            shape, ends = (data.users, data.items), (data.train_users, data.train_items)
            self.propagated_over = drop_edges(*ends, shape, self.edge_dropout, generator)

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """BPR and InfoNCE."""
        p, q = self._nodes(self.propagated_over)
        users, triples = embedding(batch.users, p), embedding(batch.triples, q)
        scores = (users.unsqueeze(1) * triples).sum(dim=-1)
        terms = {"bpr": losses.bpr(scores[:, 0], scores[:, 1])}
        if self.contrast > 0:
            both = [self._contrast(x, generator) for x in (users, triples[:, 0])]
            terms["contrast"] = self.contrast * torch.stack(both).mean()
        return terms

    def branches(self) -> dict[str, Branch]:
        """One branch, on the full graph."""
        return {FUSED: Branch(*self._nodes(self.data.user_item))}

    def _nodes(self, user_item: SparseMatrix) -> tuple[Tensor, Tensor]:
        """(U, |M| d) p and (I, |M| d) q."""
        parts = [
            unit_rows(self.projections[m](self.data.features[m]))
            * self.data.present[m].unsqueeze(1)
            for m in self.modalities
        ]
        users = torch.cat(list(self.users.values()), dim=1)
        x = h = torch.cat(parts, dim=1)
        for _ in range(self.item_layers):
            h = self.graph @ h
        p, q = lightgcn(user_item, users, x, self.layers)
        return p, q + h

    def _contrast(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """InfoNCE of two dropouts of (B, |M| d) representations."""
        one, other = (self._dropped(x, generator) for _ in range(2))
        return losses.info_nce(one, other, self.temperature)

    def _dropped(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Entries dropped at random, the others scaled to keep the mean."""
        if self.dropout == 0:
            return x
        kept = torch.rand(x.shape, generator=generator, device=x.device) >= self.dropout
        return x * kept / (1 - self.dropout)
