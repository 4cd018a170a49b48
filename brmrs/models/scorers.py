"""Scorers of branches whose s(u, i) is not an inner product of a user's and an item's vector."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag, linear

from brmrs.errors import UserError
from brmrs.graphs.user_items import UserItems, spans
from brmrs.models.base import Branch, FoldIn, Scorer
from brmrs.models.fold_in import UserRegression
from brmrs.models.standardised import StandardisedSum

CHUNK = 2**18  # activations held at once while all items are scored; 1 MB stays in a core's cache


@dataclass(frozen=True)
class ItemWeights(Scorer):
    """s(u, i) = sum_{j in N_u} w_ji of a dense matrix: the user's row times it.

    Attributes:
        starts: (U + 1,) int64; the training items of user u are `items[starts[u]:starts[u + 1]]`.
        items: (N,) int64.
        weights: (I, I).
    """

    starts: Tensor
    items: Tensor
    weights: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """(U, I)."""
        return len(self.starts) - 1, len(self.weights)

    def scores(self, users: Tensor) -> Tensor:
        """(B,) users to their (B, I) scores; a user without history scores 0."""
        places = spans(self.starts, users)[1]
        counts = self.starts.diff()[users]
        offsets = counts.cumsum(0) - counts
        return embedding_bag(self.items[places], self.weights, offsets, mode="sum")

    def similarities(self, item: int) -> Tensor:
        """(I,) the weights of the item for all other items."""
        return self.weights[item].clone()

    def fold_in(self, seen: UserItems) -> FoldIn:
        """The same weights of other histories: what training with these users would give, but for
        their effect on the weights.
        """
        return lambda histories: replace(self, starts=histories.indptr, items=histories.items)


@dataclass(frozen=True)
class ItemNeighbours(Scorer):
    """s(u, i) = sum_{j in N_u} w_ji of a sparse matrix in CSR.

    Attributes:
        starts: (U + 1,) int64; the training items of user u are `items[starts[u]:starts[u + 1]]`.
        items: (N,) int64.
        indptr: (I + 1,) int64, of the matrix.
        columns: (nnz,) int64.
        weights: (nnz,).
    """

    starts: Tensor
    items: Tensor
    indptr: Tensor
    columns: Tensor
    weights: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """(U, I)."""
        return len(self.starts) - 1, len(self.indptr) - 1

    def scores(self, users: Tensor) -> Tensor:
        """(B,) users to their (B, I) scores; a user without history scores 0."""
        owners, places = spans(self.starts, users)
        return self._sums(owners, self.items[places], len(users))

    def similarities(self, item: int) -> Tensor:
        """(I,) the item's row of the matrix."""
        one = self.items.new_tensor([item])
        return self._sums(torch.zeros_like(one), one, 1)[0]

    def fold_in(self, seen: UserItems) -> FoldIn:
        """The same weights of other histories: what training with these users would give, but for
        their effect on the weights.
        """
        return lambda histories: replace(self, starts=histories.indptr, items=histories.items)

    def _sums(self, owners: Tensor, items: Tensor, rows: int) -> Tensor:
        """(rows, I): the matrix's rows of (M,) items, summed by (M,) owner."""
        n_items = self.shape[1]
        which, entries = spans(self.indptr, items)
        cells = owners[which] * n_items + self.columns[entries]
        values = self.weights[entries].double()
        return torch.bincount(cells, values, rows * n_items).view(rows, n_items).float()


def attentive_distance(
    p: Tensor, q: Tensor, of_user: Tensor, of_item: Tensor, weight: Tensor, bias: Tensor
) -> Tensor:
    """|a * p_u - a * q_i|^2, a = d softmax(ReLU(W tanh(h_u + h_i) + b)) (MAML).

    Args:
        p: (..., d) users.
        q: (..., d) items; the leading shapes broadcast, as do those of the next two.
        of_user: (..., h) h_u, the user's share of the first layer.
        of_item: (..., h) h_i, the item's.
        weight: (d, h) W.
        bias: (d,) b.
    """
    # In place where the backward pass allows it, because memory traffic takes most of the time.
    logits = linear((of_user + of_item).tanh_(), weight, bias).relu_()
    weighted = logits.softmax(dim=-1) * (p - q)
    return p.shape[-1] ** 2 * weighted.square().sum(dim=-1)


@dataclass(frozen=True)
class AttentiveMetric(Scorer):
    """s(u, i) = -`attentive_distance`, with the attention of the pair.

    Attributes:
        p: (U, d).
        q: (I, d).
        of_user: (U, h).
        of_item: (I, h).
        weight: (d, h).
        bias: (d,).
    """

    p: Tensor
    q: Tensor
    of_user: Tensor
    of_item: Tensor
    weight: Tensor
    bias: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """(U, I)."""
        return len(self.p), len(self.q)

    def scores(self, users: Tensor) -> Tensor:
        """(B,) users to their (B, I) scores; U I h d multiplications for all users."""
        pairs = max(1, CHUNK // max(1, self.of_item.shape[1]))
        items = list(zip(*(torch.split(x, pairs) for x in (self.q, self.of_item)), strict=True))
        at_once = max(1, pairs // max(1, len(self.q)))
        return torch.cat([self._of_users(some, items) for some in torch.split(users, at_once)])

    def similarities(self, item: int) -> Tensor:
        """(I,) minus the squared distances, without a user's attention."""
        return -(self.q - self.q[item]).square().sum(dim=1)

    def fold_in(self, seen: UserItems) -> FoldIn:
        """The p and h_u of a new user by `UserRegression` on q."""
        fitted = UserRegression.fit(seen, self.q, torch.cat([self.p, self.of_user], dim=1))

        def of(histories: UserItems) -> AttentiveMetric:
            p, of_user = fitted(histories).tensor_split([self.p.shape[1]], dim=1)
            return replace(self, p=p, of_user=of_user)

        return of

    def _of_users(self, users: Tensor, items: list[tuple[Tensor, Tensor]]) -> Tensor:
        """(B, I), of blocks of the items' q and share."""
        p, of_user = self.p[users].unsqueeze(1), self.of_user[users].unsqueeze(1)
        blocks = [
            attentive_distance(p, q, of_user, of_item, self.weight, self.bias)
            for q, of_item in items
        ]
        return torch.cat(blocks, dim=1).neg_()


def attended(logits: Tensor, values: Tensor, present: Tensor) -> Tensor:
    """(...,) sum_k softmax_k(logits) values over the parts that are present; 0 without any.

    The parts are the first dimension, because loops over two parts in the last one took four times
    as long.

    Args:
        logits: (K, ...).
        values: (K, ...).
        present: (K, ...) bool.
    """
    weights = logits.masked_fill(~present, torch.finfo(logits.dtype).min).softmax(dim=0)
    return (weights * present * values).sum(dim=0)


@dataclass(frozen=True)
class AttentiveParts(Scorer):
    """s(u, i) = <p_u, q_i + sum_k a_uik v_ik>, a_uik = softmax_k <h_u, f_ik> (VECF).

    Attributes:
        p: (U, d).
        q: (I, d).
        queries: (U, d) h_u.
        keys: (I, K, d) f_ik of the K parts of an item, possibly of another precision.
        values: (I, K, d) v_ik, of the same precision as `keys`.
        present: (I, K) bool.
    """

    p: Tensor
    q: Tensor
    queries: Tensor
    keys: Tensor
    values: Tensor
    present: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """(U, I)."""
        return len(self.p), len(self.q)

    def scores(self, users: Tensor) -> Tensor:
        """(B,) users to their (B, I) scores."""
        p, queries = self.p[users], self.queries[users]
        size = max(1, CHUNK // max(1, len(users) * self.keys.shape[1]))
        attention = [
            attended(
                torch.einsum("bd,ikd->kbi", queries, keys.to(p.dtype)),
                torch.einsum("bd,ikd->kbi", p, values.to(p.dtype)),
                present.T.unsqueeze(1),
            )
            for keys, values, present in zip(
                *(torch.split(x, size) for x in (self.keys, self.values, self.present)), strict=True
            )
        ]
        return p @ self.q.T + torch.cat(attention, dim=1)

    def similarities(self, item: int) -> Tensor:
        """(I,) cosines of q_i plus the plain mean of the parts, without a user's attention."""
        return Branch(self.p, self._without_attention()).similarities(item)

    def fold_in(self, seen: UserItems) -> FoldIn:
        """The p and h_u of a new user by `UserRegression` on q_i plus the mean of the parts."""
        users = torch.cat([self.p, self.queries], dim=1)
        fitted = UserRegression.fit(seen, self._without_attention(), users)

        def of(histories: UserItems) -> AttentiveParts:
            p, queries = fitted(histories).chunk(2, dim=1)
            return replace(self, p=p, queries=queries)

        return of

    def _without_attention(self) -> Tensor:
        """(I, d) q_i plus the plain mean of the parts."""
        count = self.present.sum(dim=1, keepdim=True).clamp(min=1)
        values = self.values * self.present.unsqueeze(-1)
        return self.q + values.sum(dim=1, dtype=self.q.dtype) / count


SCORERS: dict[str, type[Scorer]] = {
    "inner-product": Branch,
    "item-weights": ItemWeights,
    "item-neighbours": ItemNeighbours,
    "attentive-metric": AttentiveMetric,
    "attentive-parts": AttentiveParts,
    "standardised-sum": StandardisedSum,
}


def kind_of(scorer: Scorer) -> str:
    """The name of a scorer in `SCORERS`.

    Raises:
        UserError: it is of another class, so a bundle could not be loaded without its code.
    """
    for name, kind in SCORERS.items():
        if type(scorer) is kind:
            return name
    raise UserError(
        f"a branch ranks by {type(scorer).__name__}, which a bundle cannot hold; use one of "
        f"{', '.join(kind.__name__ for kind in SCORERS.values())}"
    )
