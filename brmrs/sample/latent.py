"""The sample's latent structure: latent vectors of items and users, and interactions from them.

Controlled data after the method's own study. An item has five independent latent vectors, and a
user's taste w has the same five parts:

    text_unique    z_t         shown by the text alone
    visual_unique  z_v         shown by the picture alone
    additive       z_a         the text shows A z_a, the picture B z_a; A and B are complementary,
                               so <w_a, z_a> is a score by the text plus a score by the picture
    synergy        z_s = a * b the text shows the signs a, the picture the signs b; each alone is
                               independent of z_s, an exclusive-or
    redundant      z_r         shown by the text and by the picture
"""

from dataclasses import asdict, dataclass, field

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from brmrs.columns import ADDITIVE, PARTS, REDUNDANT, SYNERGY, TEXT_UNIQUE, VISUAL_UNIQUE
from brmrs.errors import UserError

Floats = NDArray[np.float64]

DIMENSIONS = {TEXT_UNIQUE: 3, VISUAL_UNIQUE: 3, ADDITIVE: 4, SYNERGY: 3, REDUNDANT: 3}
CUTS = (-1.2, -0.4, 0.4, 1.2)  # of a standard normal coordinate, into levels 0 to 4
KINDS = 12  # number of values of z_r, the kinds of products
NOISE = 0.6  # standard deviation of the score's noise; each part's contribution has its strength
STRONGEST = 1_000_000  # largest strength of a part
POPULARITY = 0.2  # standard deviation of the items' popularity
CHOOSY = 2.0  # standard deviations of the score above which an item is taken, about
FEWEST, MEAN_MORE = 5, 2.0  # interactions of a user: at least, and how many more on average


@dataclass(frozen=True)
class Strengths:
    """gamma: the standard deviation of each part's contribution to the score, about.

    Raises:
        UserError: a strength is negative or above `STRONGEST`, or all are 0.
    """

    text_unique: float = 1.0
    visual_unique: float = 1.0
    additive: float = 1.0
    synergy: float = 1.0
    redundant: float = 1.0

    def __post_init__(self) -> None:
        for part, strength in asdict(self).items():
            if not 0 <= strength <= STRONGEST:
                raise UserError(
                    f"the strength of {part} is {strength}; give a number of 0 to {STRONGEST:,}"
                )
        if not any(asdict(self).values()):
            raise UserError("all strengths of the sample are 0; raise one")


@dataclass(frozen=True)
class World:
    """U users and I items.

    Attributes:
        items: per part the (I, d) vectors z.
        users: per part the (U, d) vectors w.
        kind: (I,) the index of the item's z_r.
        text_half: A, (2, 4).
        visual_half: B, (2, 4).
        text_signs: a, (I, 3) of -1 and 1.
        visual_signs: b, (I, 3) of -1 and 1.
        strengths: gamma.
    """

    items: dict[str, Floats]
    users: dict[str, Floats]
    kind: NDArray[np.int64]
    text_half: Floats
    visual_half: Floats
    text_signs: Floats
    visual_signs: Floats
    strengths: Strengths = field(default_factory=Strengths)

    def shown_in_text(self) -> Floats:
        """(I, 5): [z_t; A z_a]; the text also shows the kind and the text signs."""
        return np.hstack([self.items[TEXT_UNIQUE], self.items[ADDITIVE] @ self.text_half.T])

    def shown_in_picture(self) -> Floats:
        """(I, 5): [z_v; B z_a]; the picture also shows the kind and the visual signs."""
        return np.hstack([self.items[VISUAL_UNIQUE], self.items[ADDITIVE] @ self.visual_half.T])

    def contributions(self) -> Floats:
        """(5, U, I): gamma_p <w_p, z_p> / sqrt(d_p) of each part, in the order of PARTS."""
        gamma = asdict(self.strengths)
        return np.stack(
            [
                gamma[part] * (self.users[part] @ self.items[part].T) / DIMENSIONS[part] ** 0.5
                for part in PARTS
            ]
        )


def draw_world(rng: Generator, users: int, items: int, strengths: Strengths | None = None) -> World:
    """Draw the latent vectors: standard normal, and the signs -1 or 1 with equal probability."""
    normal = [part for part in PARTS if part != SYNERGY]
    kinds = rng.standard_normal((KINDS, DIMENSIONS[REDUNDANT]))
    kinds = (kinds - kinds.mean(axis=0)) / kinds.std(axis=0)
    kind = rng.permutation(np.arange(items) % KINDS)
    vectors = {part: rng.standard_normal((items, DIMENSIONS[part])) for part in normal}
    vectors[REDUNDANT] = kinds[kind]
    tastes = {part: rng.standard_normal((users, DIMENSIONS[part])) for part in normal}
    basis, _ = np.linalg.qr(rng.standard_normal((DIMENSIONS[ADDITIVE], DIMENSIONS[ADDITIVE])))
    half = DIMENSIONS[ADDITIVE] // 2
    # A generator of its own, so that ids and all other parts do not depend on this part.
    (own,) = rng.spawn(1)
    a, b = (own.choice((-1.0, 1.0), (items, DIMENSIONS[SYNERGY])) for _ in range(2))
    vectors[SYNERGY] = a * b
    tastes[SYNERGY] = own.standard_normal((users, DIMENSIONS[SYNERGY]))
    return World(vectors, tastes, kind, basis[:half], basis[half:], a, b, strengths or Strengths())


def draw_interactions(
    rng: Generator, contributions: Floats
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Every user takes the items with the highest noisy scores.

    Args:
        rng: the generator.
        contributions: (5, U, I).

    Returns:
        Users, items and types, (N,) each, sorted by user, a user's best item first. The type is the
        index in PARTS of the largest contribution, or 5 where popularity and noise contribute more.
    """
    score = contributions.sum(axis=0)
    users, items = score.shape
    # Items far from the mean would be at the top of far more lists; this evens out the demand.
    spread = score.std(axis=0)
    rest = CHOOSY * score.std() * (1 - spread / spread.mean()) + rng.normal(0, POPULARITY, items)
    rest = rest + rng.normal(0, NOISE, score.shape)
    count = FEWEST + rng.geometric(1 / (1 + MEAN_MORE), users) - 1
    ranked = np.argsort(-(score + rest), axis=1)
    user = np.repeat(np.arange(users), np.minimum(count, items))
    rank = np.arange(len(user)) - np.searchsorted(user, user)
    item = ranked[user, rank]
    causes = np.concatenate([contributions[:, user, item], rest[None, user, item]])
    return user, item, causes.argmax(axis=0)
