"""Sets of items per user: training items to mask, held-out items to find."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from torch import Tensor

from brmrs.columns import ITEM, SPLIT, USER


@dataclass(frozen=True)
class UserItems:
    """Sets of items in CSR.

    Attributes:
        indptr: (U + 1,) int64; the items of user u are `items[indptr[u]:indptr[u + 1]]`.
        items: (N,) int64, increasing within a user.
        n_items: I.
    """

    indptr: Tensor
    items: Tensor
    n_items: int

    @classmethod
    def from_pairs(cls, users: Tensor, items: Tensor, n_users: int, n_items: int) -> "UserItems":
        """Collect (N,) int64 pairs in any order; a repeated pair counts once."""
        keys = torch.unique(users * n_items + items, sorted=True)
        counts = torch.bincount(keys // n_items, minlength=n_users)
        return cls(torch.cat([counts.new_zeros(1), counts.cumsum(0)]), keys % n_items, n_items)

    @classmethod
    def read(cls, path: Path, split: int, n_users: int, n_items: int) -> "UserItems":
        """Read one part of `split/interactions.parquet`; rows of the other parts are left out."""
        table = pq.read_table(path, columns=[USER, ITEM], filters=[(SPLIT, "==", split)])
        users, items = (
            torch.from_numpy(table[name].to_numpy().astype(np.int64)) for name in (USER, ITEM)
        )
        return cls.from_pairs(users, items, n_users, n_items)

    @property
    def n_users(self) -> int:
        """U."""
        return len(self.indptr) - 1

    @cached_property
    def counts(self) -> Tensor:
        """(U,) int64, the number of items of each user."""
        return self.indptr.diff()

    @cached_property
    def users(self) -> Tensor:
        """(N,) int64, the user of each of `items`."""
        return torch.arange(self.n_users, device=self.items.device).repeat_interleave(self.counts)

    @cached_property
    def free_below(self) -> Tensor:
        """(N,) int64, for the j-th item t_j of a user the items below it that the user lacks.

        This is t_j - j. An offset per user, u (I + 1), makes the array increasing, so one binary
        search serves all users.
        """
        place = torch.arange(len(self.items), device=self.items.device)
        below = self.items - (place - self.indptr[self.users])
        return self.users * (self.n_items + 1) + below

    @cached_property
    def _keys(self) -> Tensor:
        return self.users * self.n_items + self.items

    def of(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """The items of (B,) users: (M,) positions in `users` and (M,) items."""
        rows, places = spans(self.indptr, users)
        return rows, self.items[places]

    def contain(self, users: Tensor, items: Tensor) -> Tensor:
        """Whether the item is one of the user's; both of one shape, or broadcastable to it.

        Item -1 means no item: no user has it.
        """
        if len(self._keys) == 0:
            return torch.zeros_like(users * items, dtype=torch.bool)
        keys = users * self.n_items + items
        found = self._keys[torch.searchsorted(self._keys, keys).clamp(max=len(self._keys) - 1)]
        return (found == keys) & (items >= 0)

    def to(self, device: torch.device | str) -> "UserItems":
        """The same sets on a device."""
        if self.items.device == torch.device(device):
            return self  # with what it has computed
        return UserItems(self.indptr.to(device), self.items.to(device), self.n_items)


def spans(indptr: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """The entries of some rows of a CSR matrix.

    Args:
        indptr: (n + 1,) int64.
        rows: (B,) int64, in any order.

    Returns:
        (M,) positions in `rows` and (M,) positions among the matrix's entries, row after row.
    """
    counts = indptr.diff()[rows]
    owners = torch.arange(len(rows), device=rows.device).repeat_interleave(counts)
    shift = indptr[rows] - (counts.cumsum(0) - counts)
    return owners, shift[owners] + torch.arange(len(owners), device=rows.device)
