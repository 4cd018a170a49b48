"""FREEDOM (Zhou and Shen, ACM Multimedia 2023)."""

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import embedding

from brmrs.columns import FUSED, TEXT, VISUAL
from brmrs.config.models import ModelSection, ObjectiveConfig
from brmrs.config.section import Rate, Share, Weight
from brmrs.errors import UserError
from brmrs.extensions import register
from brmrs.graphs import modality
from brmrs.graphs.sampled import NodeGraph
from brmrs.graphs.sparse import SparseMatrix
from brmrs.models import losses
from brmrs.models.base import Batch, Branch, Recommender, TrainingData
from brmrs.models.frozen_features import projected_differences
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
from brmrs.models.propagation import drop_edges, lightgcn


@register("freedom")
class FREEDOM(Recommender):
    """Zhou and Shen 2023, 'A Tale of Two Graphs: Freezing and Denoising Graph Structures ...'.

    Frozen item graph: S_m is the unweighted graph of an item's k nearest items by modality m and
    the item itself, normalised D^-1/2 S D^-1/2; S = (1 - a_v) S_t + a_v S_v. Denoised user-item
    graph: each training epoch keeps a degree-sensitive sample of the edges; ranking uses all.

    With h_i = (S^L_ii E_I)_i and p_u, q_i of LightGCN, the item is q_i + h_i:

        L = L_bpr(<p_u, q_i + h_i>) + lambda sum_m L_bpr(<p_u, W_m x_i^m>)

    Branches: the view of the item in one modality's graph, s_m = <p_u, (S_m^L_ii E_I)_i>. With one
    item layer, s_f = <p_u, q_i> + sum_m a_m s_m. The branches leave q_i out: with it, s_f would be
    their convex combination, whose margin never exceeds the better of the two.

    Deviations: k counts the neighbours without the item itself; the released code counts the item.
    The features stay fixed; the released code trains them. A pair of items leaves the feature loss
    of a modality that one of them lacks. W_m has no bias, as it cancels in a difference of scores.
    `train.sampled_neighbours` deviates as in LightGCN.
    """

    class Config(ModelSection):
        """Hyper-parameters."""

        dim: int = Field(64, gt=0)
        """d: length of an embedding."""
        layers: int = Field(2, ge=0)
        """LightGCN propagation steps over the user-item graph."""
        item_layers: int = Field(1, ge=0)
        """L_ii: propagation steps over the frozen item graph."""
        visual_weight: Share = 0.1
        """a_v: weight of the visual graph; the text graph has the rest. No effect where only one
        modality has a graph."""
        edge_dropout: Rate = 0.8
        """Share of the user-item edges left out, drawn anew in each training epoch."""
        feature_loss: Weight = 1e-3
        """lambda: weight of the BPR loss on the projected features."""
        objective: ObjectiveConfig = ObjectiveConfig()
        """Weights and settings of the ranking terms of BR-MRS."""

    needs = ("modality_graphs",)
    uses = ("features",)  # for the feature loss
    by_dimension = True
    can_sample = True

    def __init__(self, data: TrainingData, config: Config, *, seed: int):
        super().__init__()
        generator, dim = torch.Generator().manual_seed(seed), config.dim
        self.columns = data.columns
        self.users = xavier(data.users, dim, generator, data.columns)
        self.items = xavier(data.items, dim, generator, data.columns)
        self.data, self.sampled_neighbours = data, data.sampled_neighbours
        self.graphs = {m: modality.frozen(graph) for m, graph in data.modality_graphs.items()}
        weights = {TEXT: 1 - config.visual_weight, VISUAL: config.visual_weight}
        single = len(self.graphs) == 1
        self.graph = modality.mixture(
            (1.0 if single else weights[m], graph) for m, graph in self.graphs.items()
        )
        self.projections = nn.ParameterDict()
        if config.feature_loss > 0:
            if not data.features:
                raise UserError("freedom's feature loss needs features; set model.feature_loss=0")
            for m, x in sorted(data.features.items()):
                self.projections[m] = xavier(x.shape[1], dim, generator, data.columns)
        self.layers, self.item_layers = config.layers, config.item_layers
        self.edge_dropout, self.feature_loss = config.edge_dropout, config.feature_loss
        self.objective = Objective.of(config.objective, tuple(self.graphs))
        self.n_negatives = self.objective.drawn
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
        if self.sampled_neighbours:
            near, branches, present = self._sampled(batch, generator)
        else:
            near, present = batch, self.data.present
            branches = self._branches(self.propagated_over, unimodal=self.objective.of_branches)
        terms = self.objective.loss(near, branches, present, self.columns)
        p = embedding(near.users, branches[FUSED].p)
        pairs = batch.triples[:, :2]
        for m, projection in self.projections.items():
            w_x = projected_differences(pairs, self.data.features[m], projection)
            s = self.columns.sum((p * w_x).sum(dim=-1))
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

    def _sampled(
        self, batch: Batch, generator: torch.Generator
    ) -> tuple[Batch, dict[str, Branch], Mapping[str, Tensor]]:
        """From sampled neighbours, for the users and items of a batch alone, each once.

        Returns:
            The batch in their numbering, their branches, and which items have each modality.
        """
        n_users, sampled = self.data.users, self.sampled_neighbours
        seeds = Seeds.of(batch, n_users)
        sizes = sizes_of(sampled, 0, self.layers)
        graph = NodeGraph.user_item(self.propagated_over)
        mean = sampled_mean(graph, seeds.nodes, sizes, generator)
        users, items = split_nodes(mean.nodes, n_users)
        propagated = mean(torch.cat([read(self.users, users), read(self.items, items)]))
        users, items = split_nodes(seeds.nodes, n_users)
        p, q = torch.split(propagated, [len(users), len(items)])
        branches = {FUSED: Branch(p, q + self._sampled_view(self.graph, items, generator))}
        if self.objective.of_branches:
            for m, item_graph in self.graphs.items():
                branches[m] = Branch(p, self._sampled_view(item_graph, items, generator))
        triples = seeds.triples - len(users)
        present = {m: mask[items] for m, mask in self.data.present.items()}
        return Batch(seeds.users, triples[:, 0], triples[:, 1:]), branches, present

    def _view(self, graph: SparseMatrix) -> Tensor:
        """(I, d) item embeddings, propagated over an item graph."""
        h: Tensor = self.items
        for _ in range(self.item_layers):
            h = graph @ h
        return h

    def _sampled_view(
        self, graph: SparseMatrix, items: Tensor, generator: torch.Generator
    ) -> Tensor:
        """(n, d) the same of (n,) items, from sampled neighbours."""
        graphs = [NodeGraph(0, None, graph.csr, bipartite=False)] * self.item_layers
        sizes = sizes_of(self.sampled_neighbours, self.layers, self.item_layers)
        view = sampled_smoothing(graphs, items, sizes, generator, residual=False)
        return view(read(self.items, view.nodes))
