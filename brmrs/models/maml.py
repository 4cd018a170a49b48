"""MAML (Liu 2019)."""

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import embedding

from brmrs.columns import FUSED
from brmrs.config.models import ModelSection
from brmrs.config.section import Weight
from brmrs.extensions import register
from brmrs.graphs.sparse import wide
from brmrs.models.base import Batch, Recommender, TrainingData
from brmrs.models.frozen_features import side_by_side
from brmrs.models.initialise import linear, xavier
from brmrs.models.scorers import AttentiveMetric, attentive_distance


@register("maml")
class MAML(Recommender):
    """Liu et al. 2019, 'User Diverse Preference Modeling by Multimodal Attentive Metric Learning'.

    Users and items are points in the unit ball. The attention a_ui of each pair weights the
    coordinates of their distance, with z_i = MLP(x_i) of the item's features:

        a_ui = d softmax(ReLU(W_2 tanh(W_1 [p_u; q_i; z_i] + b_1) + b_2))
        s(u, i) = -d(u, i)^2 = -|a_ui * p_u - a_ui * q_i|^2
        L = mean_{u,i,j} w_ui [m + d(u, i)^2 - d(u, j)^2]_+
          + lambda_f mean_i |z_i - q_i|^2 + lambda_c sum_{k != l} C_kl^2

    j runs over the sampled negatives. w_ui = log(1 + I * share of the j within the margin) is the
    estimated rank. C is the covariance of the batch's points.

    Deviations from the paper: a point outside the ball is scaled back when it is looked up, not
    after each step; losses are means, not sums; the MLP has one hidden layer and no dropout. x_i
    holds unit-length features side by side.

    Deviations from the authors' code: its hinge takes only the nearest j, which on small data is
    mostly a false negative; its MLP has three hidden layers, and z_i is halved and scaled back into
    the ball; most layers scale their input to length 1; the last two terms run over all items and
    users, and covariances are summed without squares; only p and q are optimised.
    """

    class Config(ModelSection):
        """Hyper-parameters."""

        dim: int = Field(64, gt=0)
        """d: length of an embedding."""
        hidden: int = Field(64, gt=0)
        """Units of both hidden layers; scoring all pairs takes U I hidden d multiplications."""
        n_negatives: int = Field(4, gt=0)
        """Negatives sampled for each positive."""
        margin: float = Field(1.6, gt=0)
        """m: margin of the hinge, in squared distance."""
        feature: Weight = 0.1
        """lambda_f: weight of the distance between an item and its features."""
        covariance: Weight = 1.0
        """lambda_c: weight of the squared covariances between coordinates."""

    needs = ("features",)

    def __init__(self, data: TrainingData, config: Config, *, seed: int):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        dim, hidden = config.dim, config.hidden
        self.features = side_by_side(data.features)
        self.users = xavier(data.users, dim, generator)
        self.items = xavier(data.items, dim, generator)
        self.mlp = torch.nn.Sequential(
            linear(self.features.shape[1], hidden, generator),
            torch.nn.ReLU(),
            linear(hidden, dim, generator),
        )
        self.first = linear(3 * dim, hidden, generator)
        self.second = linear(hidden, dim, generator)
        self.n_negatives, self.margin = config.n_negatives, config.margin
        self.weights = {"feature": config.feature, "covariance": config.covariance}
        self.to(data.device)

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """The metric, feature and covariance terms."""
        # Each distinct item passes the MLP once.
        items, place = torch.unique(batch.triples, return_inverse=True)
        p, q = clipped(embedding(batch.users, self.users)), clipped(embedding(items, self.items))
        z = self.mlp(self.features[items])
        distances = attentive_distance(
            p.unsqueeze(1),
            embedding(place, q),
            self._of_user(p).unsqueeze(1),
            embedding(place, self._of_item(q, z)),
            self.second.weight,
            self.second.bias,
        )
        return {
            "metric": self._hinge(distances[:, 0], distances[:, 1:]),
            "feature": self.weights["feature"] * (z - q).square().sum(dim=1).mean(),
            "covariance": self.weights["covariance"] * off_diagonal(torch.cat([p, q])),
        }

    def branches(self) -> dict[str, AttentiveMetric]:
        """One branch; its attention is computed for each pair."""
        p, q = clipped(self.users), clipped(self.items)
        of_item = self._of_item(q, self.mlp(self.features))
        second = self.second
        scorer = AttentiveMetric(p, q, self._of_user(p), of_item, second.weight, second.bias)
        return {FUSED: scorer}

    def _of_user(self, p: Tensor) -> Tensor:
        """The user's share of the first layer of the attention."""
        return p @ self.first.weight[:, : p.shape[1]].T

    def _of_item(self, q: Tensor, z: Tensor) -> Tensor:
        """The item's share, bias included."""
        return torch.cat([q, z], dim=1) @ self.first.weight[:, q.shape[1] :].T + self.first.bias

    def _hinge(self, positive: Tensor, negative: Tensor) -> Tensor:
        """(B,) and (B, n) squared distances to the mean of the rank-weighted hinge."""
        within = self.margin + positive.unsqueeze(1) - negative
        rank = (within > 0).to(within.dtype).mean(dim=1) * len(self.items)
        return (torch.log1p(rank).unsqueeze(1) * torch.relu(within)).mean()


def clipped(x: Tensor) -> Tensor:
    """(n, d) rows, those longer than 1 scaled back to length 1."""
    return x / x.square().sum(dim=1, keepdim=True).clamp(min=1).sqrt()


def off_diagonal(x: Tensor) -> Tensor:
    """Sum of the squared covariances of different columns of (n, d)."""
    centred = x - x.mean(dim=0)
    covariance = wide(centred.T @ centred) / len(x)
    return (covariance - covariance.diagonal().diag()).square().sum()
