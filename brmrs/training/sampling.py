"""Training triples: random positives, and negatives outside the user's training items.

Only the training split is used. Items of the validation and test splits may be negatives, because
leaving them out would leak them to the model.
"""

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from brmrs.errors import UserError
from brmrs.graphs.user_items import UserItems
from brmrs.models.base import Batch

Draw = Literal["interactions", "users"]

# A uniform integer below 2^62 modulo a count of at most 2^31 items is uniform to 2^-31.
_WIDE = 2**62


def seeded(seed: int, epoch: int, stream: int, device: torch.device) -> torch.Generator:
    """A generator that depends only on its arguments.

    Each epoch starts new generators, so a resumed run draws the numbers of an uninterrupted one.

    Args:
        seed: of the run.
        epoch: counted from 1.
        stream: distinguishes the generators of one epoch.
        device: of the numbers.
    """
    state = np.random.SeedSequence((seed, epoch, stream)).generate_state(1, np.uint64)
    return torch.Generator(device).manual_seed(int(state[0]))


class Sampler:
    """Draws the batches of an epoch.

    A user who has all I items in training has no negative. If n > 0, the interactions of such a
    user are left out.
    """

    def __init__(
        self,
        train: UserItems,
        negatives: int,
        draw: Draw = "interactions",
        drawn: Tensor | None = None,
    ):
        """Prepare.

        Args:
            train: the training items of each user.
            negatives: n, drawn for each positive.
            draw: see `epoch`.
            drawn: (C,) items that negatives are drawn from, increasing, with all training items;
                None: all I items.

        Raises:
            UserError: there is nothing to draw.
        """
        self.train = train
        self.n = negatives
        self.draw = draw
        self._drawn_from = drawn
        # Negatives are drawn by their places among the items that they are drawn from.
        self._count = train.n_items if drawn is None else len(drawn)
        self._free = self._count - train.counts
        usable = (self._free[train.users] > 0) | (negatives == 0)
        self._users, self._positives = train.users, train.items
        if not usable.all():  # else without copies
            self._users, self._positives = train.users[usable], train.items[usable]
        if len(self._users) == 0:
            raise UserError(
                f"nothing to train on: in all {len(usable)} training interactions, the user "
                "has every item, so there are no negatives; check the dump and ingest.k"
            )
        _, self._sizes = torch.unique_consecutive(self._users, return_counts=True)
        self._starts = self._sizes.cumsum(0) - self._sizes
        self._below = (train if drawn is None else _among(train, drawn)).free_below

    def batches(self, size: int) -> int:
        """The number of batches of `size` interactions in an epoch."""
        return -(-len(self._users) // size)

    def epoch(self, size: int, generator: torch.Generator) -> Iterator[Batch]:
        """Positives of an epoch with fresh negatives: as many as there are training interactions.

        With the draw "interactions", each interaction once, in random order. With "users", a user
        drawn uniformly and one of the user's items, with replacement.

        Args:
            size: interactions in a batch; the last one may be smaller.
            generator: on the device of the training items.
        """
        order = self._order(generator) if self.draw == "interactions" else self._drawn(generator)
        for chosen in torch.split(order, size):
            users = self._users[chosen]
            yield Batch(users, self._positives[chosen], self.negatives(users, generator))

    def _order(self, generator: torch.Generator) -> Tensor:
        """(N,) places of all interactions in random order."""
        return torch.randperm(len(self._users), generator=generator, device=self._users.device)

    def _drawn(self, generator: torch.Generator) -> Tensor:
        """(N,) places of interactions: a user drawn uniformly, then one of the user's."""
        shape, device = (2, len(self._users)), self._users.device
        user, which = torch.randint(_WIDE, shape, generator=generator, device=device)
        user = user % len(self._sizes)
        place: Tensor = self._starts[user] + which % self._sizes[user]
        return place

    def negatives(self, users: Tensor, generator: torch.Generator) -> Tensor:
        """For (B,) users (B, n) items, uniform over the items outside their training items.

        Exact, without rejection: draw a rank r < I - |N_u| and take the r-th free item. Its id is r
        plus the number of training items t_j with at most r free items below them (t_j - j <= r).
        """
        draw = torch.randint(_WIDE, (len(users), self.n), generator=generator, device=users.device)
        rank = draw % self._free[users].unsqueeze(1)
        key = users.unsqueeze(1) * (self._count + 1) + rank
        passed = torch.searchsorted(self._below, key, right=True)
        found = rank + passed - self.train.indptr[users].unsqueeze(1)
        return found if self._drawn_from is None else self._drawn_from[found]


def _among(train: UserItems, drawn: Tensor) -> UserItems:
    """The training items by their places among those that negatives are drawn from."""
    return UserItems(train.indptr, torch.searchsorted(drawn, train.items), len(drawn))
