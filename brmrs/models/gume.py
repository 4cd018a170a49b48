"""GUME (Lin et al., CIKM 2024)."""

from functools import reduce
from operator import add

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import embedding

from brmrs.columns import FUSED
from brmrs.config.models import ModelSection
from brmrs.config.section import Weight
from brmrs.extensions import register
from brmrs.graphs import augmented
from brmrs.graphs.unit_rows import unit_rows
from brmrs.models import losses, purified_views
from brmrs.models.base import Batch, Branch, Recommender, TrainingData
from brmrs.models.initialise import projections, tables, xavier
from brmrs.models.propagation import mean_of_powers
from brmrs.models.purified_views import BehaviourAwareFuser


@register("gume")
class GUME(Recommender):
    """Lin et al. 2024, 'GUME: Graphs and User Modalities Enhancement for Long-Tail ...'.

    Enhanced graph: the user-item graph with an edge from item i to item j if j is among the nearest
    of i by every modality, normalised D^-1/2 A D^-1/2. On it, the mean of the layers gives E_id of
    the ids. The explicit views E_m of the modalities are those of MGCN, and so is the table E_s
    that `BehaviourAwareFuser` makes of them. The extended table E_x is the mean over m of the
    propagation, over the enhanced graph, of a free table of the users and the items of E_m.

    The score is <u, i> of E_id + E_s. With noise(x, y) = InfoNCE of x + eps and y + eps', where eps
    is a random vector of length `noise` in the orthant of the vector that it is added to:

        L = L_bpr + lambda |u, i, j|^2 + lambda_x |E_x,i|^2
          + align (|var E_t - var E_v| + |mean E_t - mean E_v|)
          + contrast (InfoNCE of E_s and E_id, users + positives)
          + user_contrast (InfoNCE of E_x,u and E_s,u + noise(E_s,u, E_s,u) + noise(E_x,u, E_x,u))

    Deviations: k counts the neighbours without the item itself; the released code counts the item.
    The features stay fixed; the released code trains them. The users of E_m are normalised by the
    degrees in the user-item graph, as in the paper, not in the enhanced one. Noise is drawn for
    each row of the batch, not for each user. An item without modality m has a zero view of m.
    """

    class Config(ModelSection):
        """Hyper-parameters; the defaults are the authors' for Baby."""

        dim: int = Field(64, gt=0)
        """d: length of an embedding and of the projected features."""
        layers: int = Field(3, ge=0)
        """Propagation steps over the enhanced graph."""
        item_layers: int = Field(2, ge=0)
        """Propagation steps over the item graph of a modality."""
        contrast: Weight = 0.01
        """Weight of InfoNCE between the fused views and the ids."""
        temperature: float = Field(0.4, ge=0.02)
        """tau of that InfoNCE."""
        user_contrast: Weight = 0.01
        """Weight of the InfoNCE terms of the users' modalities."""
        user_temperature: float = Field(0.1, ge=0.02)
        """tau of these."""
        noise: Weight = 0.1
        """Length of the noise."""
        align: Weight = 0.1
        """Weight of the difference of the modalities' means and variances."""
        regularization: Weight = 1e-5
        """lambda: weight of the L2 term on the final rows of the batch."""
        extended_regularization: Weight = 0.1
        """lambda_x: weight of the L2 term on the extended rows of the positives."""

    needs = ("features", "modality_graphs")
    user_tables = ("users", "extended.text", "extended.visual")
    tables_held = 32

    def __init__(self, data: TrainingData, config: Config, *, seed: int):
        super().__init__()
        generator, dim = torch.Generator().manual_seed(seed), config.dim
        self.users = xavier(data.users, dim, generator)
        self.items = xavier(data.items, dim, generator)
        modalities = purified_views.modalities_of(data)
        self.extended = tables(modalities, data.users, dim, generator)
        self.projections = projections({m: data.features[m] for m in modalities}, dim, generator)
        self.gates = nn.ModuleDict({m: purified_views.gate(dim, generator) for m in modalities})
        self.fuser = BehaviourAwareFuser(modalities, dim, generator)
        self.graphs = {
            m: purified_views.cosine_graph(data.modality_graphs[m], data.present[m])
            for m in modalities
        }
        self.enhanced = augmented.adjacency(
            data.train_users,
            data.train_items,
            (data.users, data.items),
            augmented.common(data.modality_graphs[m] for m in modalities),
        )
        self.data, self.config = data, config
        self.to(data.device)

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """All terms of the class docstring, by their weights' names."""
        rows, c = purified_views.rows_of(batch, self.data.users), self.config
        tables = self._views()
        joint = self._propagated(tables)
        ids, extended = (embedding(rows, table) for table in joint)
        side = self.fuser([embedding(rows, table) for table in tables], ids)
        bpr, contrast, l2, users = purified_views.ranking_terms(ids, side, c.temperature)
        extended_user, extended_positive, _ = extended.unbind(1)
        terms = {
            "bpr": bpr,
            "contrast": c.contrast * contrast,
            "user_contrast": c.user_contrast * self._user_contrast(users, extended_user, generator),
            "l2": c.regularization * l2,
            "extended_l2": c.extended_regularization * losses.l2(extended_positive),
        }
        if len(tables) > 1:
            terms["align"] = c.align * _difference(tables[0], tables[1])
        return terms

    def branches(self) -> dict[str, Branch]:
        """One branch."""
        tables = self._views()
        ids, _ = self._propagated(tables)
        final = ids + self.fuser(tables, ids)
        return {FUSED: Branch(*torch.split(final, [self.data.users, self.data.items]))}

    def _views(self) -> list[Tensor]:
        """(U + I, d) E_m of each modality."""
        data = self.data
        purified = {
            m: self.items * self.gates[m](project(data.features[m])) * data.present[m].unsqueeze(1)
            for m, project in self.projections.items()
        }
        return purified_views.views(data.user_item, self.graphs, purified, self.config.item_layers)

    def _propagated(self, views: list[Tensor]) -> tuple[Tensor, ...]:
        """(U + I, d) E_id and E_x.

        The propagation is linear, so E_x is that of the mean of the modalities. One product takes
        both tables side by side.
        """
        users = reduce(add, self.extended.values()) / len(views)
        items = reduce(add, (view[self.data.users :] for view in views)) / len(views)
        joint = torch.cat(
            mean_of_powers(
                self.enhanced,
                torch.cat([self.users, users], dim=1),
                torch.cat([self.items, items], dim=1),
                self.config.layers,
            )
        )
        return torch.split(joint, self.config.dim, dim=1)

    def _user_contrast(self, side: Tensor, extended: Tensor, generator: torch.Generator) -> Tensor:
        """The InfoNCE terms of the users, from their (B, d) rows of E_s and E_x."""
        tau = self.config.user_temperature
        terms = [losses.info_nce(extended, side, tau)]
        for x in (side, extended):
            one, other = (self._with_noise(x, generator) for _ in range(2))
            terms.append(losses.info_nce(one, other, tau))
        return torch.stack(terms).sum()

    def _with_noise(self, x: Tensor, generator: torch.Generator) -> Tensor:
        drawn = torch.rand(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        return x + self.config.noise * x.sign() * unit_rows(drawn)


def _difference(x: Tensor, y: Tensor) -> Tensor:
    """|var x - var y| + |mean x - mean y| over all entries."""
    return (x.var() - y.var()).abs() + (x.mean() - y.mean()).abs()
