"""SMORE (Ong and Khong, WSDM 2025)."""

from functools import reduce

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import embedding

from brmrs.columns import FUSED
from brmrs.config.models import ModelSection
from brmrs.config.section import Rate, Weight
from brmrs.extensions import register
from brmrs.graphs import modality
from brmrs.graphs.sparse import wide
from brmrs.models import purified_views
from brmrs.models.base import Batch, Branch, Recommender, TrainingData
from brmrs.models.initialise import linear, projections, xavier
from brmrs.models.propagation import lightgcn


@register("smore")
class SMORE(Recommender):
    """Ong and Khong 2025, 'Spectrum-based Modality Representation Fusion Graph Convolutional ...'.

    F is the discrete Fourier transform over the d entries of a vector, c complex weights:

        x~_m = F^-1(c_m * F(W_m x^m + b_m)),  x~_f = F^-1(c_f * prod_m F(W_m x^m + b_m))

    Each of these, for m and f, gates the item's id: e_i * sigma(W x~ + b). The gated ids propagate
    over S_m as in MGCN, those of f over the largest weights of both S_m: the views E_m and E_f.
    E_id is LightGCN on the ids. The views are weighed per entry and by the ids:

        E_s = mean over m and f of P * E',  P = sigma(W E_id + b), one for each m and f
        E'_m = softmax_d(Q_m tanh(V_m E_f + b)) * E_m,  E'_f = E_f

    Entries of P may be dropped in training. The score is <u, i> of E_id + E_s:

        L = L_bpr + lambda_c (InfoNCE of E_s and E_id, users + positives) + lambda |u, i, j|^2

    Deviations: k is `graphs.k` for both modalities and counts the neighbours without the item
    itself. The features stay fixed; the released code trains them. Dropout is drawn for each row of
    the batch, not for each node. A modality that an item lacks leaves the product, and the item has
    a zero view of it.
    """

    class Config(ModelSection):
        """Hyper-parameters."""

        dim: int = Field(64, gt=0)
        """d: length of an embedding and of the projected features."""
        layers: int = Field(3, ge=0)
        """LightGCN propagation steps over the user-item graph."""
        item_layers: int = Field(1, ge=0)
        """Propagation steps over the item graphs."""
        contrast: Weight = 0.01
        """lambda_c: weight of InfoNCE between the fused views and the ids."""
        temperature: float = Field(0.2, ge=0.02)
        """tau of InfoNCE."""
        dropout: Rate = 0.0
        """Share of the entries of P dropped in training."""
        regularization: Weight = 1e-4
        """lambda: weight of the L2 term on the final rows of the batch."""

    needs = ("features", "modality_graphs")
    tables_held = 28

    def __init__(self, data: TrainingData, config: Config, *, seed: int):
        super().__init__()
        generator, dim = torch.Generator().manual_seed(seed), config.dim
        self.users = xavier(data.users, dim, generator)
        self.items = xavier(data.items, dim, generator)
        modalities = purified_views.modalities_of(data)
        views = (*modalities, FUSED)
        self.projections = projections({m: data.features[m] for m in modalities}, dim, generator)
        self.filters = nn.ParameterDict(
            {m: torch.randn(dim // 2 + 1, 2, generator=generator) for m in views}
        )
        self.gates = nn.ModuleDict({m: purified_views.gate(dim, generator) for m in views})
        self.queries = nn.ModuleDict({m: _query(dim, generator) for m in modalities})
        self.preferences = nn.ModuleDict({m: purified_views.gate(dim, generator) for m in views})
        self.graphs = {
            m: purified_views.cosine_graph(data.modality_graphs[m], data.present[m])
            for m in modalities
        }
        self.graphs[FUSED] = modality.maximum(self.graphs.values())
        self.data, self.layers, self.item_layers = data, config.layers, config.item_layers
        self.contrast, self.temperature = config.contrast, config.temperature
        self.dropout, self.regularization = config.dropout, config.regularization
        self.to(data.device)

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """BPR, InfoNCE and L2 of the final rows."""
        rows = purified_views.rows_of(batch, self.data.users)
        ids, *views = (embedding(rows, table) for table in self._tables())
        side = self._side(ids, views, generator)
        bpr, contrast, l2, _ = purified_views.ranking_terms(ids, side, self.temperature)
        return {
            "bpr": bpr,
            "contrast": self.contrast * contrast,
            "l2": self.regularization * l2,
        }

    def branches(self) -> dict[str, Branch]:
        """One branch."""
        ids, *views = self._tables()
        final = ids + self._side(ids, views, None)
        return {FUSED: Branch(*torch.split(final, [self.data.users, self.data.items]))}

    def _tables(self) -> list[Tensor]:
        """(U + I, d) E_id, E_m of each modality, and E_f."""
        data = self.data
        ids = torch.cat(lightgcn(data.user_item, self.users, self.items, self.layers))
        filtered, present = self._filtered()
        gated = {
            m: self.items * gate(filtered[m]) * present[m].unsqueeze(1)
            for m, gate in self.gates.items()
        }
        return [ids, *purified_views.views(data.user_item, self.graphs, gated, self.item_layers)]

    def _side(self, ids: Tensor, views: list[Tensor], generator: torch.Generator | None) -> Tensor:
        """(..., d) E_s of (..., d) rows; without a generator, nothing is dropped."""
        parts = []
        for (m, prefer), view in zip(self.preferences.items(), views, strict=True):
            weighed = view
            if m in self.queries:
                weighed = wide(self.queries[m](views[-1])).softmax(dim=-1) * view
            parts.append(self._dropped(prefer(ids), generator) * weighed)
        return torch.stack(parts).mean(dim=0)

    def _filtered(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """(I, d) x~ of each modality and fused, and the (I,) items that have them."""
        data, spectra, found = self.data, {}, {}
        for m, project in self.projections.items():
            spectra[m] = torch.fft.rfft(wide(project(data.features[m])), norm="ortho")
        present = {m: data.present[m] for m in spectra}
        factors = [x.where(present[m].unsqueeze(1), 1) for m, x in spectra.items()]
        spectra[FUSED] = reduce(torch.mul, factors)
        present[FUSED] = torch.stack(list(present.values())).any(dim=0)
        for m, x in spectra.items():
            weight = torch.view_as_complex(self.filters[m])
            found[m] = torch.fft.irfft(weight * x, n=self.items.shape[1], norm="ortho")
        return found, present

    def _dropped(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """Entries dropped at random, the others scaled to keep the mean."""
        if generator is None or self.dropout == 0:
            return x
        kept = torch.rand(x.shape, generator=generator, device=x.device) >= self.dropout
        return x * kept / (1 - self.dropout)


def _query(dim: int, generator: torch.Generator) -> nn.Sequential:
    """Q tanh(V x + b)."""
    first, last = linear(dim, dim, generator), linear(dim, dim, generator)
    last.register_parameter("bias", None)
    return nn.Sequential(first, nn.Tanh(), last)
