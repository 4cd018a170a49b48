"""The sample's latent structure: latent vectors of items and users, and interactions from them.

Controlled data after the method's own study. Every item has four independent latent vectors:
text-unique z_t, visual-unique z_v, synergy z_s, redundant z_r. The text shows [z_t; A z_s; z_r],
the picture [z_v; B z_s; z_r]; A and B have half the rank each and are complementary, so z_s can
be recovered only from both. A user's taste w has the same four parts.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from brmrs.columns import PARTS, REDUNDANT, SYNERGY, TEXT_UNIQUE, VISUAL_UNIQUE

Floats = NDArray[np.float64]

DIMENSIONS = {TEXT_UNIQUE: 3, VISUAL_UNIQUE: 3, SYNERGY: 4, REDUNDANT: 3}
STRENGTHS = {TEXT_UNIQUE: 1.0, VISUAL_UNIQUE: 1.0, SYNERGY: 1.0, REDUNDANT: 1.0}  # gamma
KINDS = 12  # number of values of z_r, the kinds of products
NOISE = 0.6  # standard deviation of the score's noise; each part's contribution has gamma
POPULARITY = 0.2  # standard deviation of the items' popularity
CHOOSY = 2.0  # standard deviations of the score above which an item is taken, about
FEWEST, MEAN_MORE = 5, 2.0  # interactions of a user: at least, and how many more on average


@dataclass(frozen=True)
class World:
    """U users and I items.

    Attributes:
        items: per part the (I, d) vectors z.
        users: per part the (U, d) vectors w.
        kind: (I,) the index of the item's z_r.
        text_half: A, (2, 4).
        visual_half: B, (2, 4).
    """

    items: dict[str, Floats]
    users: dict[str, Floats]
    kind: NDArray[np.int64]
    text_half: Floats
    visual_half: Floats

    def shown_in_text(self) -> Floats:
        """(I, 5): [z_t; A z_s]; the text also names the kind."""
        return np.hstack([self.items[TEXT_UNIQUE], self.items[SYNERGY] @ self.text_half.T])

    def shown_in_picture(self) -> Floats:
        """(I, 5): [z_v; B z_s]; the picture also shows the kind."""
        return np.hstack([self.items[VISUAL_UNIQUE], self.items[SYNERGY] @ self.visual_half.T])

    def contributions(self) -> Floats:
        """(4, U, I): gamma_p <w_p, z_p> / sqrt(d_p) of each part, in the order of PARTS."""
        return np.stack(
            [
                STRENGTHS[part] * (self.users[part] @ self.items[part].T) / DIMENSIONS[part] ** 0.5
                for part in PARTS
            ]
        )


def draw_world(rng: Generator, users: int, items: int) -> World:
    """Draw the latent vectors, all standard normal."""
    kinds = rng.standard_normal((KINDS, DIMENSIONS[REDUNDANT]))
    kinds = (kinds - kinds.mean(axis=0)) / kinds.std(axis=0)
    kind = rng.permutation(np.arange(items) % KINDS)
    vectors = {part: rng.standard_normal((items, DIMENSIONS[part])) for part in PARTS}
    vectors[REDUNDANT] = kinds[kind]
    tastes = {part: rng.standard_normal((users, DIMENSIONS[part])) for part in PARTS}
    basis, _ = np.linalg.qr(rng.standard_normal((DIMENSIONS[SYNERGY], DIMENSIONS[SYNERGY])))
    half = DIMENSIONS[SYNERGY] // 2
    return World(vectors, tastes, kind, basis[:half], basis[half:])


def draw_interactions(
    rng: Generator, contributions: Floats
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Every user takes the items with the highest noisy scores.

    Args:
        rng: the generator.
        contributions: (4, U, I).

    Returns:
        Users, items and types (index in PARTS of the largest contribution), (N,) each, sorted by
        user, a user's best item first.
    """
    score = contributions.sum(axis=0)
    users, items = score.shape
    # Items far from the mean would be at the top of far more lists; this evens out the demand.
    spread = score.std(axis=0)
    offset = CHOOSY * score.std() * (1 - spread / spread.mean())
    offset += rng.normal(0, POPULARITY, items)
    noisy = score + offset + rng.normal(0, NOISE, score.shape)
    count = FEWEST + rng.geometric(1 / (1 + MEAN_MORE), users) - 1
    ranked = np.argsort(-noisy, axis=1)
    user = np.repeat(np.arange(users), np.minimum(count, items))
    rank = np.arange(len(user)) - np.searchsorted(user, user)
    item = ranked[user, rank]
    return user, item, contributions[:, user, item].argmax(axis=0)
