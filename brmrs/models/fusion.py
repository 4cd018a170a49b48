"""Fusions phi of BR-MRS: the channels of a user or an item to one fused representation.

s_f is the inner product of the fused user and the fused item. A fusion is *additive* if, for each
user, s_f(u, i) is a function of the text of i plus a function of the picture of i. An additive
fusion cannot rank by an exclusive-or of text and picture, so it cannot hold synergy;
tests/models/test_fusion.py shows which fusions can, docs/planted-synergy.md which learn it.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from brmrs.graphs.unit_rows import unit_rows
from brmrs.models.frozen_features import principal
from brmrs.models.initialise import linear, xavier

Kind = Literal["concat", "mean", "gate", "user-gate", "bilinear", "attention", "residual", "joint"]
WITH_IDS = {"attention"}
JOINT = "joint"
THREE_CHANNELS = {*WITH_IDS, JOINT}
SCALE = 0.1  # of a perceptron's outputs at the start: about that of the channels


class Fusion(nn.Module):
    """One fusion; `users` and `items` map channels side by side to representations.

    With t, v the (..., d) channels, and o a third channel, which only two have:

        concat     [t; v], so s_f = s_t + s_v                                      additive
        mean       (t + v) / 2                                                     additive
        gate       g * t + (1 - g) * v, g = sigma(W [t; v] + b)
        user-gate  users [2 g * t; 2 (1 - g) * v] with the gate's g; items [t; v]  additive
        bilinear   [t; v; (A t) * (B v)], of rank d
        attention  a_t t + a_v v + a_o o, a = softmax(W [t; v; o] + b)
        residual   [t; v; SCALE * MLP([t'; v'])], x' is x scaled to a mean square of 1, so
                   s_f = s_t + s_v + <g(p_t, p_v), h(q_t, q_v)>
        joint      [t; v; o], so s_f = s_t + s_v + s_o

    The channel o of attention has free embeddings. That of joint has a free embedding per user and
    `Joint` of the features per item; the graphs propagate it as they do the channels of the
    modalities.

    The weights of attention depend on all parts together: if each part's weight depended only on
    that part, s_f > c would still be an additive condition for every c.

    The gate, bilinear and attention share their parameters between users and items. The residual
    has a perceptron for each, with one hidden layer of 2 d units.

    Args:
        kind: which one.
        dim: d, of a channel.
        generator: of the parameters.
    """

    def __init__(self, kind: Kind, dim: int, generator: torch.Generator):
        super().__init__()
        self.kind = kind
        if kind in {"gate", "user-gate"}:
            self.weight = xavier(2 * dim, dim, generator)
            self.bias = nn.Parameter(torch.zeros(dim))
        elif kind == "bilinear":
            self.of_text, self.of_visual = (xavier(dim, dim, generator) for _ in range(2))
        elif kind == "attention":
            self.weight = xavier(3 * dim, 3, generator)
            self.bias = nn.Parameter(torch.zeros(3))
        elif kind == "residual":
            self.of_users, self.of_items = (_perceptron(dim, generator) for _ in range(2))

    @property
    def channels(self) -> int:
        """The number of fused channels: text and visual, for attention also the ids."""
        return 3 if self.kind in THREE_CHANNELS else 2

    @property
    def is_concat(self) -> bool:
        """Whether s_f is just the sum of the channels' scores."""
        return self.kind in {"concat", JOINT}

    @property
    def by_column(self) -> bool:
        """Whether column c of the result depends only on the columns c of the channels."""
        return self.is_concat or self.kind == "mean"

    def users(self, channels: Tensor) -> Tensor:
        """(..., channels d) users to their fused representation."""
        if self.kind == "user-gate":
            t, v = channels.chunk(2, dim=-1)
            gate = self._gate(channels)
            return torch.cat([2 * gate * t, 2 * (1 - gate) * v], dim=-1)
        return self._fused(channels, "of_users")

    def items(self, channels: Tensor) -> Tensor:
        """(..., channels d) items to their fused representation."""
        return channels if self.kind == "user-gate" else self._fused(channels, "of_items")

    def _fused(self, channels: Tensor, perceptron: str) -> Tensor:
        if self.is_concat:
            return channels
        if self.kind == "attention":
            attention = torch.softmax(channels @ self.weight + self.bias, dim=-1)
            parts = torch.stack(channels.chunk(3, dim=-1), dim=-2)
            return (attention.unsqueeze(-1) * parts).sum(dim=-2)
        t, v = channels.chunk(2, dim=-1)
        if self.kind == "mean":
            return (t + v) / 2
        if self.kind == "gate":
            gate = self._gate(channels)
            return gate * t + (1 - gate) * v
        if self.kind == "bilinear":
            return torch.cat([channels, (t @ self.of_text) * (v @ self.of_visual)], dim=-1)
        even = torch.cat([_even(t), _even(v)], dim=-1)
        return torch.cat([channels, SCALE * getattr(self, perceptron)(even)], dim=-1)

    def _gate(self, channels: Tensor) -> Tensor:
        """(..., d) from 0 to 1."""
        return torch.sigmoid(channels @ self.weight + self.bias)


def _even(x: Tensor) -> Tensor:
    """Rows with a mean square of 1, nearly: channels start with entries of about 0.05.

    So small entries would leave the perceptron without a gradient for most of the training.
    """
    return x / (x.square().mean(dim=-1, keepdim=True) + 1e-4).sqrt()


def _perceptron(dim: int, generator: torch.Generator) -> nn.Sequential:
    first, second = linear(2 * dim, 2 * dim, generator), linear(2 * dim, dim, generator)
    return nn.Sequential(first, nn.LeakyReLU(), second)


class Joint(nn.Module):
    """Layer 0 of the items' channel o: SCALE * MLP([z_t; z_v]), with one hidden layer.

    z_m are the item's unit-length features, centred, in their `DIRECTIONS` leading directions, and
    scaled to a mean square of 1. A perceptron of the features finds a product of attributes in far
    fewer steps than one of the trained channels, whose entries are small and change all the time.

    Args:
        features: per modality (I, d_m); zero rows where an item lacks it.
        present: per modality (I,) bool.
        dim: d, of a channel.
        generator: of the parameters.
    """

    DIRECTIONS, HIDDEN = 64, 64
    z: Tensor

    def __init__(
        self,
        features: Mapping[str, Tensor],
        present: Mapping[str, Tensor],
        dim: int,
        generator: torch.Generator,
    ):
        super().__init__()
        reduced = [_standard(x, present[m], generator) for m, x in features.items()]
        z = torch.cat(reduced, dim=1)
        self.register_buffer("z", z, persistent=False)
        self.first = linear(z.shape[1], self.HIDDEN, generator)
        self.last = linear(self.HIDDEN, dim, generator)

    def forward(self, items: Tensor | None = None) -> Tensor:
        """(I, d), or (n, d) of these (n,) items."""
        z = self.z if items is None else embedding(items, self.z)
        of_items: Tensor = self.last(torch.relu(self.first(z)))
        return SCALE * of_items


def _standard(x: Tensor, present: Tensor, generator: torch.Generator) -> Tensor:
    """(I, DIRECTIONS) centred leading coordinates of the (I, d) features, mean square 1."""
    rows = unit_rows(x)
    mean = rows[present].mean(dim=0)
    z = principal((rows - mean).where(present.unsqueeze(1), 0), Joint.DIRECTIONS, generator)
    return z / z[present].square().mean().sqrt().clamp(min=1e-12)
