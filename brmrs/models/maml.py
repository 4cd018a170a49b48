"""MAML (Liu 2019)."""

import torch
from torch import Tensor
from torch.nn.functional import embedding

from brmrs.columns import FUSED
from brmrs.graphs.sparse import wide
from brmrs.models.base import Batch, Recommender, TrainingData
from brmrs.models.frozen_features import side_by_side
from brmrs.models.initialise import linear, xavier
from brmrs.models.scorers import AttentiveMetric, attentive_distance


class MAML(Recommender):
    """Liu et al. 2019, 'User Diverse Preference Modeling by Multimodal Attentive Metric Learning'.

    Users and items are points in the unit ball; which coordinates count is a matter of the pair.
    With z_i = MLP(x_i) of the item's features,

        a_ui = d softmax(ReLU(W_2 tanh(W_1 [p_u; q_i; z_i] + b_1) + b_2))
        s(u, i) = -d(u, i)^2 = -|a_ui * p_u - a_ui * q_i|^2
        L = mean_{u,i,j} w_ui [m + d(u, i)^2 - d(u, j)^2]_+
          + lambda_f mean_i |z_i - q_i|^2 + lambda_c sum_{k != l} C_kl^2

    j runs over the sampled negatives; w_ui = log(1 + I * share of the j that come within the
    margin), the estimated rank; C is the covariance of the batch's points.

    Where this is not the paper: points are scaled back into the ball when they are looked up, not
    after each step; means instead of sums; no dropout in the MLP, of one hidden layer. x_i:
    unit-length features side by side.

    Where the authors' code is otherwise: its hinge takes the nearest j alone, which is most often a
    false negative on small data; its MLP has three hidden layers, and z_i is halved and scaled back
    into the ball; what enters most layers is scaled to length 1; the last two terms run over all
    items and users, and the covariances are summed as they are; only p and q are optimised.

    Args:
        data: the training split with features of at least one modality.
        seed: of the parameters.
        dim: d.
        hidden: units of both hidden layers. To score everything takes U I hidden d multiplications.
        negatives: sampled for each positive.
        margin: m.
        feature: lambda_f.
        covariance: lambda_c.
    """

    needs = frozenset({"features"})

    def __init__(
        self,
        data: TrainingData,
        *,
        seed: int,
        dim: int,
        hidden: int,
        negatives: int,
        margin: float,
        feature: float,
        covariance: float,
    ):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
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
        self.negatives, self.margin = negatives, margin
        self.weights = {"feature": feature, "covariance": covariance}
        self.to(data.device)

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """The metric, feature and covariance terms."""
        # The MLP sees each item once.
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
