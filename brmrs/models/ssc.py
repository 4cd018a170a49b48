"""SSC-LightGCN (He et al., KDD 2025)."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import embedding

from brmrs.columns import FUSED, TEXT, VISUAL
from brmrs.config.models import ModelSection
from brmrs.config.section import Search, Share, Weight
from brmrs.extensions import register
from brmrs.graphs import augmented, modality
from brmrs.models import losses
from brmrs.models.base import Batch, Branch, Recommender, TrainingData
from brmrs.models.initialise import xavier
from brmrs.models.propagation import mean_of_powers


@register("ssc")
class SSC(Recommender):
    """He et al. 2025, 'Collaborative Filtering Meets Spectrum Shift: Connecting User-Item ...'.

    The adjacency matrix of users and items also holds item-item edges, S = (1 - a_v) S_t + a_v S_v.
    S_m is unweighted and symmetric: an edge joins two items if one is among the k nearest of the
    other by modality m; every item with an edge is also near itself. The spectrum of the normalised
    matrix is narrower than [-1, 1], so it is shifted and scaled before LightGCN's propagation:

        A+ = D^-1/2 [[0, R], [R^T, S]] D^-1/2
        E^(l+1) = (A+ - mu I) / Delta E^(l),  E = mean over l = 0..L,  s(u, i) = <e_u, e_i>

    The loss is BPR plus lambda times half the squared norm of all embeddings, which has the same
    gradient as the weight decay of Adam in the released code. The authors set mu and Delta per data
    set: .05 and .75 on Baby, .1 and .7 on Sports with k = 5.

    Deviations: k is `graphs.k` and counts the neighbours without the item itself; the released code
    counts the item. The released code reduces the features to 200 principal components
    before the search for neighbours. Its embeddings start at N(0, 1e-8), here Xavier uniform. It
    draws users uniformly; set `train.draw: users` for that.
    """

    class Config(ModelSection):
        """Hyper-parameters."""

        dim: int = Field(64, gt=0)
        """d: length of an embedding."""
        layers: int = Field(3, ge=0)
        """L: propagation steps."""
        visual_weight: Share = 0.1
        """a_v: weight of the visual graph; the text graph has the rest. No effect where only one
        modality has a graph."""
        shift: Annotated[float, Field(ge=0, lt=1), Search(0.0, 0.2)] = 0.05
        """mu: centre of the spectrum of A+, which the shift moves to 0."""
        scale: Annotated[float, Field(gt=0), Search(0.5, 1.0)] = 0.75
        """Delta: half the width of the spectrum, which the scaling brings to 1."""
        regularization: Weight = 1e-6
        """lambda: weight of the L2 term over all embeddings."""

    needs = ("modality_graphs",)

    def __init__(self, data: TrainingData, config: Config, *, seed: int):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.users = xavier(data.users, config.dim, generator)
        self.items = xavier(data.items, config.dim, generator)
        graphs = data.modality_graphs
        weights = {TEXT: 1 - config.visual_weight, VISUAL: config.visual_weight}
        single = len(graphs) == 1
        item_graph = augmented.undirected(
            (1.0 if single else weights[m], modality.with_self_loops(graph))
            for m, graph in graphs.items()
        )
        shape = (data.users, data.items)
        joint = augmented.adjacency(data.train_users, data.train_items, shape, item_graph)
        self.graph = augmented.shifted(joint, config.shift, config.scale)
        self.layers, self.regularization = config.layers, config.regularization
        self.to(data.device)

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """BPR, and L2 of all embeddings."""
        p, q = mean_of_powers(self.graph, self.users, self.items, self.layers)
        rows = embedding(batch.users, p).unsqueeze(1) * embedding(batch.triples, q)
        scores = rows.sum(dim=-1)
        return {
            "bpr": losses.bpr(scores[:, 0], scores[:, 1:]),
            "l2": self.regularization * losses.l2_of_all([self.users, self.items]),
        }

    def branches(self) -> dict[str, Branch]:
        """One branch."""
        return {FUSED: Branch(*mean_of_powers(self.graph, self.users, self.items, self.layers))}
