"""What text, picture and both tell about each part of the sample's taste."""

import itertools
import math

import numpy as np
import pytest

from brmrs.columns import ADDITIVE, PARTS, REDUNDANT, SYNERGY, TEXT_UNIQUE, VISUAL_UNIQUE
from brmrs.errors import UserError
from brmrs.sample.information import mutual_information
from brmrs.sample.latent import Strengths, World, draw_interactions, draw_world


@pytest.fixture(scope="module")
def world() -> World:
    return draw_world(np.random.default_rng(0), 200, 400)


def test_each_part_is_shown_where_its_name_says(world: World) -> None:
    bits = mutual_information(world)
    assert all(0.9 < bits[part]["both"] <= 1 for part in PARTS)
    text, picture, both = ({p: bits[p][x] for p in PARTS} for x in ("text", "picture", "both"))
    assert text[TEXT_UNIQUE] == both[TEXT_UNIQUE]
    assert picture[TEXT_UNIQUE] == 0
    assert picture[VISUAL_UNIQUE] == both[VISUAL_UNIQUE]
    assert text[VISUAL_UNIQUE] == 0
    assert text[REDUNDANT] == picture[REDUNDANT] == both[REDUNDANT]
    assert text[SYNERGY] == picture[SYNERGY] == 0
    assert bits[SYNERGY]["synergy"] == both[SYNERGY]
    assert 0.2 < text[ADDITIVE] < 0.5
    assert 0.2 < picture[ADDITIVE] < 0.5


def test_the_bits_of_the_synergy_agree_with_a_count_over_all_pairs_of_signs() -> None:
    world = draw_world(np.random.default_rng(3), 1, 50)
    signs = list(itertools.product((-1, 1), repeat=3))
    likes = {
        (a, b): float(np.dot(world.users[SYNERGY][0], np.multiply(a, b))) > 0
        for a in signs
        for b in signs
    }
    share = sum(likes.values()) / len(likes)
    entropy = -sum(p * math.log2(p) for p in (share, 1 - share))
    for a in signs:  # so a text alone changes nothing
        assert sum(likes[a, b] for b in signs) / len(signs) == share
    assert mutual_information(world)[SYNERGY]["both"] == pytest.approx(entropy, abs=1e-6)


def test_a_part_of_strength_0_contributes_nothing_and_changes_no_other_part() -> None:
    one, other = (
        draw_world(np.random.default_rng(0), 30, 40, Strengths(synergy=s)) for s in (1.0, 0.0)
    )
    c, without = one.contributions(), other.contributions()
    assert (without[PARTS.index(SYNERGY)] == 0).all()
    kept = [n for n, part in enumerate(PARTS) if part != SYNERGY]
    assert (c[kept] == without[kept]).all()
    types = draw_interactions(np.random.default_rng(1), without)[2]
    assert PARTS.index(SYNERGY) not in types
    assert len(PARTS) in types  # popularity and noise


@pytest.mark.parametrize("strength", [-1.0, math.nan, math.inf])
def test_an_impossible_strength_is_refused(strength: float) -> None:
    with pytest.raises(UserError, match="the strength of additive is"):
        Strengths(additive=strength)
    with pytest.raises(UserError, match="all strengths of the sample are 0"):
        Strengths(0, 0, 0, 0, 0)
