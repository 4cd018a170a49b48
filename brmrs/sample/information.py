"""How much text, picture and both tell about each part of the taste, in bits.

The variable is L, whether a user likes an item by one part: <w_p, z_p> > 0. For each part p:

    text, picture   I(L; X) with X what the text, or the picture, shows of z_p
    both            I(L; X_t, X_v)
    synergy         both - text - picture; negative where text and picture tell the same

Each is the mean over users. The estimator counts nothing: it sums over the whole distribution that
the items are drawn from. What a modality shows of other parts is independent of L, so leaving it
out loses nothing. Limits: normal coordinates are cut into the five levels that the texts show,
each represented by its mean, although pictures show them continuously. The items of one sample
deviate from their distribution, and features blur what texts and pictures show.
"""

import itertools
import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from brmrs.columns import ADDITIVE, PARTS, REDUNDANT, SYNERGY, TEXT_UNIQUE
from brmrs.sample.latent import CUTS, DIMENSIONS, Floats, World


def mutual_information(world: World) -> dict[str, dict[str, float]]:
    """By part of PARTS: text, picture, both and synergy, in bits, rounded to 6 digits."""
    return {part: _rounded(_of_part(world, part)) for part in PARTS}


def _of_part(world: World, part: str) -> Mapping[str, float]:
    """The bits of one part."""
    w = world.users[part]
    if part == REDUNDANT:
        kinds, counts = np.unique(world.items[part], axis=0, return_counts=True)
        likes, p = (w @ kinds.T > 0)[:, :, None], counts / counts.sum()
        text = _bits(likes, p, np.ones(1))["text"]
        return {"text": text, "picture": text, "both": text}
    if part == SYNERGY:
        signs = _grid([-1.0, 1.0], DIMENSIONS[part])
        products = signs[:, None] * signs[None]  # (8, 8, 3) by text and picture
        likes, p = np.einsum("ud,xyd->uxy", w, products) > 0, np.full(len(signs), 1 / len(signs))
        return _bits(likes, p, p)
    (by_text, p_text), (by_picture, p_picture) = (_scores(half) for half in _halves(world, part))
    return _bits(by_text[:, :, None] + by_picture[:, None] > 0, p_text, p_picture)


def _halves(world: World, part: str) -> tuple[Floats, Floats]:
    """The taste for what the text shows of an additive part, and for what the picture shows."""
    w = world.users[part]
    if part == ADDITIVE:
        return w @ world.text_half.T, w @ world.visual_half.T
    return (w, w[:, :0]) if part == TEXT_UNIQUE else (w[:, :0], w)


def _scores(taste: Floats) -> tuple[Floats, Floats]:
    """(U, S) scores <w, z> over the S = 5^d combinations of levels, and their (S,) probabilities.

    Args:
        taste: (U, d).
    """
    edges = [-math.inf, *CUTS, math.inf]
    p = np.diff([0.5 * (1 + math.erf(edge / math.sqrt(2))) for edge in edges])
    density = [math.exp(-edge * edge / 2) / math.sqrt(2 * math.pi) for edge in edges]
    means = -np.diff(density) / p
    d = taste.shape[1]
    return taste @ _grid(means, d).T, _grid(p, d).prod(axis=1)


def _grid(values: Floats | list[float], d: int) -> Floats:
    """(n^d, d) all combinations of n values; one row of length 0 for d = 0."""
    return np.array(list(itertools.product(values, repeat=d))).reshape(len(values) ** d, d)


def _bits(likes: NDArray[np.bool_], p_text: Floats, p_picture: Floats) -> dict[str, float]:
    """Mean over users of I(L; text), I(L; picture), I(L; both) = H(L).

    Args:
        likes: (U, S, T), L by what the text (S states) and the picture (T states) show.
        p_text: (S,) probabilities.
        p_picture: (T,) probabilities, independent of the text.
    """
    given_text, given_picture = likes @ p_picture, np.einsum("uxy,x->uy", likes, p_text)
    whole = _entropy(given_text @ p_text)
    return {
        "text": float((whole - _entropy(given_text) @ p_text).mean()),
        "picture": float((whole - _entropy(given_picture) @ p_picture).mean()),
        "both": float(whole.mean()),
    }


def _entropy(p: Floats) -> Floats:
    """Bits of binary variables that are true with probability p; any shape."""
    both = np.stack([p, 1 - p]).clip(0, 1)
    bits: Floats = -(both * np.log2(np.where(both > 0, both, 1))).sum(axis=0)
    return bits


def _rounded(bits: Mapping[str, float]) -> dict[str, float]:
    synergy = bits["both"] - bits["text"] - bits["picture"]
    return {name: round(value, 6) + 0.0 for name, value in {**bits, "synergy": synergy}.items()}
