"""BR-MRS (method/000, 001)."""

from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import embedding

from brmrs.columns import FUSED, TEXT, VISUAL
from brmrs.config.models import ModelSection, RankingTerms
from brmrs.config.section import Rate, Weight
from brmrs.config.without_effect import refuse
from brmrs.errors import UserError
from brmrs.extensions import register
from brmrs.graphs.sampled import NodeGraph
from brmrs.graphs.sparse import SparseMatrix, wide
from brmrs.graphs.unit_rows import unit_rows
from brmrs.models import losses
from brmrs.models.base import Batch, Branch, Recommender, TrainingData
from brmrs.models.frozen_features import principal
from brmrs.models.fusion import JOINT, THREE_CHANNELS, WITH_IDS, Fusion, Joint
from brmrs.models.initialise import xavier
from brmrs.models.neighbourhood import (
    Seeds,
    read,
    sampled_mean,
    sampled_smoothing,
    sizes_of,
    split_nodes,
)
from brmrs.models.objective import Objective
from brmrs.models.propagation import drop_edges, lightgcn, sampled_edges
from brmrs.models.spectral import SpectralChannels


@register("br-mrs")
class BRMRS(Recommender):
    """The owner's method (docs/method.md): modality inconsistency in the BPR loss.

    Each modality m is a channel with separate layer-0 embeddings: a free embedding per user, and
    W_m x_i^m plus a free embedding per item (either can be turned off). x_i^m is the unit-length
    features in their leading `feature_dim` directions. The homogeneous graphs smooth them,
    e <- e + G e per layer. LightGCN then propagates over the user-item graph, and the mean of the
    layers gives p_u^m, q_i^m. The channels are stored side by side, (U, M d), so that one product
    serves both.
    With the backbone "ssc", each channel propagates over its own `spectral.SpectralChannels`
    instead, which holds the item-item edges of its modality.

    Fusion phi: see `fusion.Fusion`.

        L = lambda_h L_chns + lambda_s L_syn + bpr L_bpr(s_f) + lambda |Theta|^2

    |Theta|^2 covers the layer-0 embeddings of the users, positives and first candidates of the
    batch, with projected features, and the parameters of phi. It does not depend on the pool. The
    uniform i- of the synergy and BPR terms is the first candidate of N(u).

    An item without modality m has no projected feature; its free embedding and its neighbours
    still place it in the channel. Its pairs are treated as in `losses.chns` and `losses.synergy`.

    Deviations of the default from the method documents (docs/method.md, section 5): phi is the
    concatenation, which is additive; theta is 0; the pool has 2 candidates; a fused BPR loss is
    added; the reference of the synergy loss has no gradient; items and users have free embeddings
    per channel; features are reduced to 256 directions; training epochs sample 20 % of the edges;
    the homogeneous layers have a residual. configs/models/br-mrs-by-the-letter.yaml undoes those
    that have a setting. `train.sampled_neighbours` deviates as in LightGCN.

    With only one modality, its channel is also the fused branch. The objective is then its BPR with
    weight `bpr`, or 1 if `bpr` is 0.
    """

    class Config(RankingTerms, ModelSection):
        """Hyper-parameters."""

        dim: int = Field(64, gt=0)
        """d: length of an embedding in one channel."""
        feature_dim: int = Field(256, gt=0)
        """Principal directions kept of each modality's features."""
        backbone: Literal["homogeneous", "ssc"] = "homogeneous"
        """Graphs of a channel. `homogeneous`: the item and the user graph, then the user-item
        graph. `ssc`: the user-item graph with the edges of the modality's nearest neighbours, its
        spectrum shifted and scaled as in the model ssc."""
        layers: int = Field(2, ge=0)
        """L: propagation steps over the user-item graph."""
        item_layers: int = Field(1, ge=0)
        """Layers over the item graph."""
        user_layers: int = Field(1, ge=0)
        """Layers over the user graph."""
        shift: float = Field(0.05, ge=0, lt=1)
        """mu of the backbone `ssc`."""
        scale: float = Field(0.75, gt=0)
        """Delta of the backbone `ssc`."""
        id_embeddings: bool = True
        """Whether items have a free embedding."""
        projected_features: bool = True
        """Whether items have a projection of their features. Without it, a modality enters by its
        neighbour graph only."""
        fusion: Literal[
            "concat", "mean", "gate", "user-gate", "bilinear", "attention", "residual", "joint"
        ] = "concat"
        """phi: how the channels are fused (brmrs/models/fusion.py). concat, mean and user-gate are
        additive: they cannot hold what neither modality holds."""
        chns: Weight = 0.3
        """lambda_h: weight of cross-modal hard negative sampling (CHNS)."""
        synergy: Weight = 0.3
        """lambda_s: weight of the synergy-aware BPR loss."""
        regularization: Weight = 1e-4
        """lambda: weight of the L2 term."""
        edge_dropout: Rate = 0.8
        """Share of the user-item edges left out, drawn anew in each training epoch."""

        @model_validator(mode="after")
        def _backbone_has_these_settings(self) -> Self:
            if self.backbone == "ssc":
                refuse(self, ("item_layers", "user_layers"), "backbone is ssc")
            else:
                refuse(self, ("shift", "scale"), "backbone is homogeneous")
            return self

        @model_validator(mode="after")
        def _items_have_embeddings(self) -> Self:
            if not self.projected_features:
                refuse(self, ("feature_dim",), "projected_features is false")
                if not self.id_embeddings:
                    raise ValueError(
                        "id_embeddings and projected_features are both false, so the items have no "
                        "embeddings; set one of them to true"
                    )
            return self

        def undivided(self) -> str:
            """The perceptron of the fusion `joint` mixes columns."""
            return "fusion=joint" if self.fusion == "joint" else ""

        def whole_graph(self) -> str:
            """Neighbours are not sampled from the graphs of the backbone `ssc`."""
            return "backbone=ssc" if self.backbone == "ssc" else ""

    needs = ("features", "item_graph", "user_graph")
    uses = ("modality_graphs",)  # for the backbone ssc
    item_tables = ("items", "ids")
    tables_held = 24
    by_dimension = True
    can_sample = True

    def __init__(self, data: TrainingData, config: Config, *, seed: int):
        super().__init__()
        generator, dim = torch.Generator().manual_seed(seed), config.dim
        self.data, self.columns = data, data.columns
        self.modalities = tuple(m for m in (TEXT, VISUAL) if m in data.features)
        self.features = {
            m: principal(unit_rows(data.features[m]), config.feature_dim, generator)
            for m in self.modalities
            if config.projected_features
        }
        fused, width = len(self.modalities) > 1, len(self.modalities) * dim
        # Channels side by side: the modalities, then the third one if the fusion has it.
        fusion = config.fusion if fused else None
        if fusion == JOINT and self.columns.workers > 1:
            raise UserError(
                "model.fusion=joint trains in one process only, as its perceptron mixes columns; "
                "set train.processes=1"
            )
        self.sampled_neighbours = data.sampled_neighbours
        third = dim * (fusion in THREE_CHANNELS)
        of = self.columns
        self.users = xavier(data.users, width + third, generator, of)
        self.items = xavier(data.items, width, generator, of) if config.id_embeddings else None
        self.ids = xavier(data.items, dim, generator, of) if fusion in WITH_IDS else None
        self.projections = nn.ParameterDict(
            {m: xavier(x.shape[1], dim, generator, of) for m, x in self.features.items()}
        )
        self.fusion = Fusion(fusion, dim, generator) if fusion else None
        self.joint = Joint(data.features, data.present, dim, generator) if fusion == JOINT else None
        self.dim = of.width(dim)
        self.layers = config.layers
        self.item_layers, self.user_layers = config.item_layers, config.user_layers
        self.objective = Objective(config)
        self.regularization, self.edge_dropout = config.regularization, config.edge_dropout
        self.n_negatives = config.pool
        self.spectral = None
        if config.backbone == "ssc":
            settings = config.shift, config.scale
            self.spectral = SpectralChannels(data, self.modalities, int(third > 0), *settings)
        self.full = self.spectral.full if self.spectral else [data.user_item]
        self.propagated_over = self.full
        self.to(data.device)

    def begin_epoch(self, generator: torch.Generator) -> None:
        """Draw the epoch's edges."""
        if self.edge_dropout == 0:
            return
        data, shape = self.data, (self.data.users, self.data.items)
        drawn = (data.train_users, data.train_items, shape, self.edge_dropout, generator)
        if self.spectral is None:
            self.propagated_over = [drop_edges(*drawn)]
        else:
            self.propagated_over = self.spectral.over(*sampled_edges(*drawn))

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """The weighted terms whose weight is above 0, and L2."""
        rows = self._sampled(batch, generator) if self.sampled_neighbours else self._whole(batch)
        (p, q), layer_zero = rows
        terms = self._ranking_terms(batch.triples, p.unsqueeze(1), q)
        l2 = self.columns.sum(losses.l2(*layer_zero))
        if self.fusion is not None:
            l2 = l2 + losses.l2_of_all(self.fusion.parameters())
        if self.joint is not None:
            l2 = l2 + losses.l2_of_all(self.joint.parameters())
        terms["l2"] = self.regularization * l2
        return terms

    def _whole(self, batch: Batch) -> tuple[tuple[Tensor, Tensor], list[Tensor]]:
        """(B, C d) users and (B, 1 + n, C d) items, propagated, and the rows of the L2 term."""
        users, items = self._layer_zero()
        p, q = self._propagate(self.propagated_over, users, items)
        rows = embedding(batch.users, p), embedding(batch.triples, q)
        return rows, batch.rows([users], [items])

    def _sampled(
        self, batch: Batch, generator: torch.Generator
    ) -> tuple[tuple[Tensor, Tensor], list[Tensor]]:
        """The same from sampled neighbours."""
        sampled, n_users = self.sampled_neighbours, self.data.users
        seeds = Seeds.of(batch, n_users)
        sizes = sizes_of(sampled, 0, self.layers)
        graph = NodeGraph.user_item(self.propagated_over[0])
        mean = sampled_mean(graph, seeds.nodes, sizes, generator)
        layers = max(self.user_layers, self.item_layers)
        sizes = sizes_of(sampled, self.layers, layers)
        graphs = [self._homogeneous(layer) for layer in range(layers)]
        smoothing = sampled_smoothing(graphs, mean.nodes, sizes, generator)
        x = torch.cat(self._layer_zero_of(*split_nodes(smoothing.nodes, n_users)))
        users, items = seeds.rows(mean.own(smoothing.own(x)))
        return seeds.rows(mean(smoothing(x))), [users, items[:, :2]]

    def _homogeneous(self, layer: int) -> NodeGraph:
        """The user and the item graph of a layer, counted from the last one."""
        pairs = (self.data.user_graph, self.user_layers), (self.data.item_graph, self.item_layers)
        csrs = [
            graph.csr if graph is not None and layer < layers else None for graph, layers in pairs
        ]
        return NodeGraph(self.data.users, csrs[0], csrs[1], bipartite=False)

    def branches(self) -> dict[str, Branch]:
        """One branch per modality, and the fused one; on the full graph."""
        p, q = self._propagate(self.full, *self._layer_zero())
        branches = {
            m: Branch(self._channel(p, n), self._channel(q, n))
            for n, m in enumerate(self.modalities)
        }
        if self.fusion is None:
            return {FUSED: branches[self.modalities[0]], **branches}
        if not self.fusion.by_column:
            p, q = self.columns.gather(p), self.columns.gather(q)
            fused = self.columns.part(self.fusion.users(p)), self.columns.part(self.fusion.items(q))
            return {FUSED: Branch(*fused), **branches}
        return {FUSED: Branch(self.fusion.users(p), self.fusion.items(q)), **branches}

    def _layer_zero(self) -> tuple[Tensor, Tensor]:
        """(U, C d) and (I, C d) embeddings of C channels before any propagation."""
        projected = [x @ self.projections[m] for m, x in self.features.items()]
        items = _embedded(projected, self.items)
        if self.ids is not None:
            items = torch.cat([items, self.ids], dim=1)
        if self.joint is not None:
            items = torch.cat([items, self.joint()], dim=1)
        return self.users, items

    def _layer_zero_of(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """The rows of some users and items, each once."""
        projected = [
            wide(embedding(items, x) @ self.projections[m]) for m, x in self.features.items()
        ]
        rows = _embedded(projected, None if self.items is None else read(self.items, items))
        if self.ids is not None:
            rows = torch.cat([rows, read(self.ids, items)], dim=1)
        if self.joint is not None:
            rows = torch.cat([rows, wide(self.joint(items))], dim=1)
        return read(self.users, users), rows

    def _propagate(
        self, graphs: list[SparseMatrix], users: Tensor, items: Tensor
    ) -> tuple[Tensor, Tensor]:
        """By the backbone: (U, C d), (I, C d).

        Args:
            graphs: the user-item graph, or that of each channel.
            users: (U, C d) layer 0.
            items: (I, C d) layer 0.
        """
        if self.spectral is not None:
            return self.spectral.propagate(graphs, users, items, self.layers)
        users = _smooth(self.data.user_graph, users, self.user_layers)
        items = _smooth(self.data.item_graph, items, self.item_layers)
        p, q = lightgcn(graphs[0], users, items, self.layers)
        return p, q

    def _ranking_terms(self, triples: Tensor, p: Tensor, q: Tensor) -> dict[str, Tensor]:
        """BPR, CHNS and synergy of (B, 1 + n) triples, column 0 the positive.

        Args:
            triples: (B, 1 + n) items.
            p: (B, 1, M d) users.
            q: (B, 1 + n, M d) the items.
        """
        if self.fusion is None:
            weight, scores = self.objective.settings.bpr or 1.0, (p * q).sum(dim=-1)
            scores = self.columns.sum(scores)
            return {"bpr": weight * losses.bpr(scores[:, 0], scores[:, 1])}
        if not self.fusion.by_column:
            p, q = self.columns.gather(p), self.columns.gather(q)
        by_channel = (p * q).reshape(*triples.shape, self.fusion.channels, -1).sum(dim=-1)
        if self.fusion.is_concat:
            s_f = by_channel.sum(dim=-1)
        else:
            s_f = (self.fusion.users(p) * self.fusion.items(q)).sum(dim=-1)
        if self.fusion.by_column:
            by_channel, s_f = self.columns.sums(by_channel, s_f)
        s_t, s_v = by_channel.unbind(-1)[:2]
        has = {m: self.data.present[m][triples] for m in self.modalities}
        return self.objective.terms({FUSED: s_f, TEXT: s_t, VISUAL: s_v}, has)

    def _channel(self, table: Tensor, n: int) -> Tensor:
        """(rows, d) view of channel n."""
        return table[:, n * self.dim : (n + 1) * self.dim]


def _embedded(projected: list[Tensor], free: Tensor | None) -> Tensor:
    """(rows, M d): the (rows, d) projected features of each channel, and the free embeddings."""
    if not projected:
        assert free is not None  # as the configuration says
        return free
    rows = torch.cat(projected, dim=1)
    return rows if free is None else rows + free


def _smooth(graph: SparseMatrix | None, e: Tensor, layers: int) -> Tensor:
    """`layers` times e <- e + G e. A node without neighbours is unchanged."""
    assert graph is not None  # the class needs both graphs
    for _ in range(layers):
        e = e + graph @ e
    return e
