"""GRCN (Wei et al., ACM Multimedia 2020)."""

from functools import reduce

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import leaky_relu

from brmrs.columns import FUSED
from brmrs.config.models import ModelSection, ObjectiveConfig
from brmrs.config.section import Weight
from brmrs.extensions import register
from brmrs.graphs.learned import Edges
from brmrs.graphs.unit_rows import unit_rows
from brmrs.models import losses
from brmrs.models.base import Batch, Branch, Recommender, TrainingData
from brmrs.models.initialise import projections, tables, xavier
from brmrs.models.objective import Objective


@register("grcn")
class GRCN(Recommender):
    """Wei et al. 2020, 'Graph-Refined Convolutional Network for Multimedia Recommendation ...'.

    Prototypes, per modality m, all of length 1: q_i = LeakyReLU(W x_i + b) and a free p_u. Each of
    the `routing` iterations sets p_u <- p_u + sum_i a_ui q_i, with a_u the softmax of <p_u, q_i>
    over the user's items. Finally, a_iu is the same softmax over the item's users.

    Refined graph: the weight of a message from n to n' is relu(max_m c_n^m a_n'n^m), with c the
    learned confidence of node n in modality m. Edges of weight 0 are pruned.

    Convolution: the ids propagate over the refined graph, summed over the layers. Each modality has
    one layer with the weights a: p_u + sum_i a_ui q_i and q_i + sum_u a_iu p_u. The parts are
    concatenated, so s_f = s_id + s_t + s_v. The loss is BPR plus L2 of the ids and prototypes of
    the batch.

    Branches: the representations of one modality.

    Deviations: an item without modality m takes no part in the softmaxes of m. The released code
        scales the ids to length 1 before the convolution, so they have the same weight as the
        content from the first step. Here their length is free.
    """

    class Config(ModelSection):
        """Hyper-parameters."""

        dim: int = Field(64, gt=0)
        """d: length of the id part and of the part of each modality."""
        layers: int = Field(2, ge=1)
        """Propagation steps of the ids over the refined graph."""
        routing: int = Field(3, ge=0)
        """Iterations that form the users' prototypes."""
        regularization: Weight = 1e-4
        """Weight of the L2 term on the ids and prototypes of the batch."""
        objective: ObjectiveConfig = ObjectiveConfig()
        """Weights and settings of the ranking terms of BR-MRS."""

    needs = ("features",)
    user_tables = ("users", "prototypes.text", "prototypes.visual", "user_confidence")
    item_tables = ("items", "item_confidence")
    tables_held = 32

    def __init__(self, data: TrainingData, config: Config, *, seed: int):
        super().__init__()
        generator, dim = torch.Generator().manual_seed(seed), config.dim
        self.modalities = tuple(sorted(data.features))
        self.users = xavier(data.users, dim, generator)
        self.items = xavier(data.items, dim, generator)
        self.prototypes = tables(self.modalities, data.users, dim, generator)
        self.projections = projections(data.features, dim, generator)
        self.user_confidence = xavier(data.users, len(self.modalities), generator)
        self.item_confidence = xavier(data.items, len(self.modalities), generator)
        self.edges = Edges(data.train_users, data.train_items, (data.users, data.items))
        self.data, self.layers, self.routing = data, config.layers, config.routing
        self.regularization = config.regularization
        self.objective = Objective.of(config.objective, self.modalities)
        self.n_negatives = self.objective.drawn
        self.to(data.device)

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """The objective's terms and L2."""
        terms = self.objective.loss(batch, self.branches(), self.data.present)
        rows = batch.rows([self.users, *self.prototypes.values()], [self.items])
        terms["l2"] = self.regularization * losses.l2(*rows)
        return terms

    def branches(self) -> dict[str, Branch]:
        """One branch per modality; fused are these beside the ids on the refined graph."""
        content, to_user, to_item = {}, [], []
        for column, m in enumerate(self.modalities):
            content[m], of_items, of_users = self._content(m)
            of_sender = self.edges.of_columns(self.item_confidence[:, column])
            to_user.append(of_sender * of_items)
            of_sender = self.edges.of_rows(self.user_confidence[:, column])
            to_item.append(of_sender * of_users)
        ids = self._refined(*(reduce(torch.maximum, w).relu() for w in (to_user, to_item)))
        parts = (ids, *content.values())
        p, q = (torch.cat([getattr(part, side) for part in parts], dim=1) for side in "pq")
        return {FUSED: Branch(p, q), **content}

    def _content(self, m: str) -> tuple[Branch, Tensor, Tensor]:
        """The representations of a modality, (E,) a_ui and (E,) a_iu."""
        edges, present = self.edges, self.data.present[m]
        x = leaky_relu(self.projections[m](self.data.features[m]))
        q = unit_rows(x * present.unsqueeze(1))
        p = unit_rows(self.prototypes[m])
        has = present[edges.columns]
        for _ in range(self.routing):
            of_items = edges.softmax(edges.affinity(p, q), has)
            p = unit_rows(p + edges.product(of_items, q))
        affinity = edges.affinity(p, q)
        of_items = edges.softmax(affinity, has)
        of_users = edges.softmax(affinity, has, by_column=True)
        branch = Branch(p + edges.product(of_items, q), q + edges.transposed_product(of_users, p))
        return branch, of_items, of_users

    def _refined(self, to_user: Tensor, to_item: Tensor) -> Branch:
        """The ids, summed over the layers on the graph with (E,) weights in either direction."""
        p: Tensor = self.users
        q: Tensor = self.items
        sums = (p, q)
        for _ in range(self.layers):
            p, q = self.edges.product(to_user, q), self.edges.transposed_product(to_item, p)
            sums = (sums[0] + p, sums[1] + q)
        return Branch(*sums)
