"""GRCN (Wei et al., ACM Multimedia 2020)."""

from collections.abc import Mapping
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import leaky_relu

from brmrs.columns import FUSED
from brmrs.graphs.learned import Edges
from brmrs.graphs.unit_rows import unit_rows
from brmrs.models import losses
from brmrs.models.base import Batch, Branch, Recommender, TrainingData
from brmrs.models.initialise import projections, tables, xavier
from brmrs.models.objective import Objective


class GRCN(Recommender):
    """Wei et al. 2020, 'Graph-Refined Convolutional Network for Multimedia Recommendation ...'.

    Prototypes, per modality m: q_i = LeakyReLU(W x_i + b) and a free p_u, of length 1; `routing`
    times p_u <- p_u + sum_i a_ui q_i, of length 1, a_u the softmax of <p_u, q_i> over the user's
    items. Then a_iu is the same softmax over the item's users.

    Refined graph: the weight of a message from n to n' is relu(max_m c_n^m a_n'n^m), c the learned
    confidence of node n in modality m; what is not above 0 is pruned.

    Graph convolution: ids over the refined graph, summed over the layers; in each modality one
    layer with the weights a, p_u + sum_i a_ui q_i and q_i + sum_u a_iu p_u. The three side by side,
    so s_f = s_id + s_t + s_v; BPR, and L2 on the ids and the prototypes of the batch.

    Branches: the representations of one modality.

    Deviations: an item without m takes no part in that modality's softmaxes. The released code
    scales the ids to length 1 before the convolution, so they weigh as much as the content from the
    first step on; here they grow.

    Args:
        data: the training split, features of at least one modality.
        seed: of the parameters.
        dim: d, of each part.
        layers: over the refined graph.
        routing: iterations of the prototypes.
        regularization: of ids and prototypes.
        objective: weights of the ranking terms on s_f and the branches.
    """

    needs = frozenset({"features"})
    user_tables = ("users", "prototypes.text", "prototypes.visual", "user_confidence")
    item_tables = ("items", "item_confidence")
    tables_held = 32

    def __init__(
        self,
        data: TrainingData,
        *,
        seed: int,
        dim: int,
        layers: int,
        routing: int,
        regularization: float,
        objective: Mapping[str, Any],
    ):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.modalities = tuple(sorted(data.features))
        self.users = xavier(data.users, dim, generator)
        self.items = xavier(data.items, dim, generator)
        self.prototypes = tables(self.modalities, data.users, dim, generator)
        self.projections = projections(data.features, dim, generator)
        self.user_confidence = xavier(data.users, len(self.modalities), generator)
        self.item_confidence = xavier(data.items, len(self.modalities), generator)
        self.edges = Edges(data.train_users, data.train_items, (data.users, data.items))
        self.data, self.layers, self.routing = data, layers, routing
        self.regularization = regularization
        self.objective = Objective.of(objective, self.modalities)
        self.negatives = self.objective.drawn
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
