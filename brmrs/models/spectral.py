"""The backbone of SSC with one graph per modality, for models with a channel per modality."""

from collections.abc import Sequence

import torch
from torch import Tensor

from brmrs.errors import UserError
from brmrs.graphs import augmented, modality
from brmrs.graphs.sparse import SparseMatrix
from brmrs.models.base import TrainingData
from brmrs.models.propagation import mean_of_powers


class SpectralChannels:
    """For each channel c the graph (A_c - mu I) / Delta of `brmrs.models.ssc`.

    A_c = D^-1/2 [[0, R], [R^T, S_c]] D^-1/2. S_c joins two items if one is among the nearest of the
    other by the channel's modality, and each item with an edge to itself, as in the model `ssc`. A
    channel without a modality has the mean of all S_c.
    """

    def __init__(
        self, data: TrainingData, modalities: Sequence[str], extra: int, shift: float, scale: float
    ):
        """Prepare the item graphs.

        Args:
            data: the training split and the nearest neighbours of each modality.
            modalities: of the first channels.
            extra: number of channels without a modality.
            shift: mu.
            scale: Delta.

        Raises:
            UserError: a modality has no neighbours.
        """
        missing = [m for m in modalities if m not in data.modality_graphs]
        if missing:
            raise UserError(
                f"model.backbone=ssc needs the nearest neighbours of the items by {missing[0]}, "
                "and the data have none; set model.backbone=homogeneous"
            )
        self.shape, self.shift, self.scale = (data.users, data.items), shift, scale
        graphs = [modality.with_self_loops(data.modality_graphs[m]) for m in modalities]
        self.item_graphs = [augmented.undirected([(1.0, graph)]) for graph in graphs]
        whole = augmented.undirected((1 / len(graphs), graph) for graph in graphs)
        self.item_graphs += [whole] * extra
        self.full = self.over(data.train_users, data.train_items)

    def over(self, users: Tensor, items: Tensor) -> list[SparseMatrix]:
        """The graph of each channel with these interactions, (N,) sorted by (user, item)."""
        return [
            augmented.shifted(
                augmented.adjacency(users, items, self.shape, graph), self.shift, self.scale
            )
            for graph in self.item_graphs
        ]

    def propagate(
        self, graphs: Sequence[SparseMatrix], users: Tensor, items: Tensor, layers: int
    ) -> tuple[Tensor, Tensor]:
        """(U, C d) and (I, C d): the mean over the layers, each channel over its own graph."""
        channels = [
            mean_of_powers(graph, p, q, layers)
            for graph, p, q in zip(
                graphs, *(x.chunk(len(graphs), dim=1) for x in (users, items)), strict=True
            )
        ]
        p, q = (torch.cat(parts, dim=1) for parts in zip(*channels, strict=True))
        return p, q
