"""MGCN (Yu et al., ACM Multimedia 2023)."""

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import embedding

from brmrs.columns import FUSED
from brmrs.config.models import ModelSection
from brmrs.config.section import Weight
from brmrs.extensions import register
from brmrs.models import purified_views
from brmrs.models.base import Batch, Branch, Recommender, TrainingData
from brmrs.models.initialise import projections, xavier
from brmrs.models.propagation import lightgcn
from brmrs.models.purified_views import BehaviourAwareFuser


@register("mgcn")
class MGCN(Recommender):
    """Yu et al. 2023, 'Multi-View Graph Convolutional Network for Multimedia Recommendation'.

    Purified items: e_i * sigma(W_2 (W_1 x_i^m + b_1) + b_2), with e_i the item's id. They propagate
    over S_m, the normalised cosines of an item with its k nearest items and itself, and users get
    the normalised sum of their items: the view E_m of modality m. E_id is LightGCN on the ids.
    `BehaviourAwareFuser` makes one table E_s of the views. The score is <u, i> of E_id + E_s:

        L = L_bpr + lambda_c (InfoNCE of E_s and E_id, users + positives) + lambda |u, i, j|^2

    Deviations: k counts the neighbours without the item itself; the released code counts the item.
    The features stay fixed; the released code trains them. The mean of the fuser is over 1 + |M|
    terms, as in the released code; the paper has E_s + 1/|M| sum_m. An item without modality m has
    a zero view of m.
    """

    class Config(ModelSection):
        """Hyper-parameters."""

        dim: int = Field(64, gt=0)
        """d: length of an embedding and of the projected features."""
        layers: int = Field(2, ge=0)
        """LightGCN propagation steps over the user-item graph."""
        item_layers: int = Field(1, ge=0)
        """Propagation steps over the item graph of a modality."""
        contrast: Weight = 0.01
        """lambda_c: weight of InfoNCE between the fused views and the ids."""
        temperature: float = Field(0.2, ge=0.02)
        """tau of InfoNCE."""
        regularization: Weight = 1e-4
        """lambda: weight of the L2 term on the final rows of the batch."""

    needs = ("features", "modality_graphs")
    tables_held = 24

    def __init__(self, data: TrainingData, config: Config, *, seed: int):
        super().__init__()
        generator, dim = torch.Generator().manual_seed(seed), config.dim
        self.users = xavier(data.users, dim, generator)
        self.items = xavier(data.items, dim, generator)
        modalities = purified_views.modalities_of(data)
        self.projections = projections({m: data.features[m] for m in modalities}, dim, generator)
        self.gates = nn.ModuleDict({m: purified_views.gate(dim, generator) for m in modalities})
        self.fuser = BehaviourAwareFuser(modalities, dim, generator)
        self.graphs = {
            m: purified_views.cosine_graph(data.modality_graphs[m], data.present[m])
            for m in modalities
        }
        self.data, self.layers, self.item_layers = data, config.layers, config.item_layers
        self.contrast, self.temperature = config.contrast, config.temperature
        self.regularization = config.regularization
        self.to(data.device)

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """BPR, InfoNCE and L2 of the final rows."""
        rows = purified_views.rows_of(batch, self.data.users)
        ids, *views = (embedding(rows, table) for table in self._tables())
        side = self.fuser(views, ids)
        bpr, contrast, l2, _ = purified_views.ranking_terms(ids, side, self.temperature)
        return {
            "bpr": bpr,
            "contrast": self.contrast * contrast,
            "l2": self.regularization * l2,
        }

    def branches(self) -> dict[str, Branch]:
        """One branch."""
        ids, *views = self._tables()
        final = ids + self.fuser(views, ids)
        return {FUSED: Branch(*torch.split(final, [self.data.users, self.data.items]))}

    def _tables(self) -> list[Tensor]:
        """(U + I, d) E_id and E_m of each modality."""
        data = self.data
        ids = torch.cat(lightgcn(data.user_item, self.users, self.items, self.layers))
        purified = {
            m: self.items * self.gates[m](project(data.features[m])) * data.present[m].unsqueeze(1)
            for m, project in self.projections.items()
        }
        views = purified_views.views(data.user_item, self.graphs, purified, self.item_layers)
        return [ids, *views]
