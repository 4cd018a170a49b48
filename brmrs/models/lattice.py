"""LATTICE (Zhang et al., ACM Multimedia 2021)."""

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import embedding

from brmrs.columns import FUSED
from brmrs.config.models import ModelSection, ObjectiveConfig
from brmrs.config.section import Share, Weight
from brmrs.extensions import register
from brmrs.graphs import modality
from brmrs.graphs.learned import Edges
from brmrs.graphs.unit_rows import unit_rows
from brmrs.models import losses
from brmrs.models.base import Batch, Branch, Recommender, TrainingData
from brmrs.models.initialise import projections, xavier
from brmrs.models.objective import Objective
from brmrs.models.propagation import lightgcn


@register("lattice")
class LATTICE(Recommender):
    """Zhang et al. 2021, 'Mining Latent Structures for Multimedia Recommendation'.

    The initial graph S_m of a modality holds the cosines of each item with its k nearest items and
    itself, normalised D^-1/2 S D^-1/2. The learned graph S~_m is the same for the projected
    features x~_m = W_m x_m + b_m, with negative cosines set to 0. They are mixed:

        A_m = lambda S_m + (1 - lambda) S~_m,  A = sum_m softmax(a)_m A_m,  h = A^L_ii E_I

    With p_u and q_i of LightGCN, the item is q_i + h_i / |h_i|:

        L = L_bpr(<p_u, q_i + h_i / |h_i|>) + regularization |p_u, items|^2

    The learned graphs are built at the start of each epoch. As in the released code, only the first
    step of an epoch has gradients into W_m, b_m and a. Neighbours are found in blocks of rows, and
    only their edges have gradients, so no (I, I) matrix is held.

    Branches: the view of the item in one modality's graph, normalize(A_m^L_ii E_I), with the same
    p_u.

    Deviations: k counts the neighbours without the item itself; the released code counts the item.
    Items without a modality have no edges in its graphs. The released code mixes the learned graphs
    first and normalises the mixture. It also keeps negative cosines, trains the features, and
    propagates p_u and q_i over D^-1 (A + I).
    """

    class Config(ModelSection):
        """Hyper-parameters."""

        dim: int = Field(64, gt=0)
        """d: length of an embedding and of the projected features."""
        layers: int = Field(2, ge=0)
        """LightGCN propagation steps over the user-item graph."""
        item_layers: int = Field(1, ge=0)
        """L_ii: propagation steps over the item graph."""
        k: int = Field(10, gt=0)
        """Neighbours of an item in a learned graph."""
        initial_weight: Share = 0.9
        """lambda: weight of the initial graphs against the learned ones."""
        regularization: Weight = 1e-4
        """Weight of the L2 term on the propagated rows of the batch."""
        objective: ObjectiveConfig = ObjectiveConfig()
        """Weights and settings of the ranking terms of BR-MRS."""

    needs = ("features", "modality_graphs")
    tables_held = 24

    def __init__(self, data: TrainingData, config: Config, *, seed: int):
        super().__init__()
        generator, dim = torch.Generator().manual_seed(seed), config.dim
        self.users = xavier(data.users, dim, generator)
        self.items = xavier(data.items, dim, generator)
        self.modalities = tuple(m for m in data.modality_graphs if m in data.features)
        features = {m: data.features[m] for m in self.modalities}
        self.transforms = projections(features, dim, generator)
        self.modality_weights = nn.Parameter(torch.zeros(len(self.modalities)))
        self.initial = {
            m: modality.edges(modality.symmetric(modality.with_self_loops(data.modality_graphs[m])))
            for m in self.modalities
        }
        self.data, self.layers, self.item_layers = data, config.layers, config.item_layers
        self.k, self.initial_weight = config.k, config.initial_weight
        self.regularization = config.regularization
        self.objective = Objective.of(config.objective, self.modalities)
        self.n_negatives = self.objective.drawn
        self._kept: dict[str, _Graph] = {}  # the epoch's graphs, as constants
        self.to(data.device)

    def begin_epoch(self, generator: torch.Generator) -> None:
        """Let the next step find the graphs."""
        self._kept = {}

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """The objective's terms and L2."""
        graphs = self._kept or self._graphs()
        self._kept = {name: (edges, values.detach()) for name, (edges, values) in graphs.items()}
        branches = self._branches(graphs, unimodal=self.objective.of_branches)
        terms = self.objective.loss(batch, branches, self.data.present)
        rows = batch.rows([branches[FUSED].p], [branches[FUSED].q])
        terms["l2"] = self.regularization * losses.l2(*rows)
        return terms

    def branches(self) -> dict[str, Branch]:
        """The fused branch and one per modality, on the graphs of the present parameters."""
        return self._branches(self._graphs(), unimodal=True)

    def _branches(self, graphs: "Mapping[str, _Graph]", *, unimodal: bool) -> dict[str, Branch]:
        p, q = lightgcn(self.data.user_item, self.users, self.items, self.layers)
        branches = {FUSED: Branch(p, q + self._view(graphs[FUSED]))}
        if unimodal:
            branches |= {m: Branch(p, self._view(graphs[m])) for m in self.modalities}
        return branches

    def _view(self, graph: "_Graph") -> Tensor:
        """(I, d) item embeddings propagated over a graph, of length 1."""
        edges, values = graph
        h: Tensor = self.items
        for _ in range(self.item_layers):
            h = edges.product(values, h)
        return unit_rows(h)

    def _graphs(self) -> "dict[str, _Graph]":
        """A_m of each modality, and A."""
        size = self.data.items
        of = {m: self._of_modality(m) for m in self.modalities}
        weights = self.modality_weights.softmax(0)
        parts = zip(weights, of.values(), strict=True)
        of[FUSED] = modality.added([modality.scaled(a, graph) for a, graph in parts], size)
        return {
            name: (Edges(graph.rows, graph.columns, (size, size)), graph.values)
            for name, graph in of.items()
        }

    def _of_modality(self, m: str) -> modality.Weighted:
        """A_m = lambda S_m + (1 - lambda) S~_m."""
        items = self.data.present[m].nonzero().squeeze(1)
        x = unit_rows(self.transforms[m](self.data.features[m][items]))
        near = modality.nearest_rows(x, self.k + 1)
        cosines = (x.unsqueeze(1) * embedding(near, x)).sum(dim=-1).relu()
        # Degrees are at least 1, as each item is its own neighbour; 0 if x~ is close to 0.
        root = cosines.sum(dim=1, keepdim=True).clamp(min=0.5).rsqrt()
        values = root * cosines * embedding(near, root).squeeze(-1)
        rows = items.repeat_interleave(near.shape[1])
        learned = modality.Weighted(rows, items[near].flatten(), values.flatten())
        weight = self.initial_weight
        parts = [modality.scaled(weight, self.initial[m]), modality.scaled(1 - weight, learned)]
        return modality.added(parts, self.data.items)


_Graph = tuple[Edges, Tensor]  # and the weight of each edge
