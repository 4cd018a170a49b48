"""Planted types are recovered by branches that know exactly what texts and pictures show.

No model is trained: the text branch scores by what the text shows of the sample's world, the visual
branch by what the picture shows, and the fused branch by everything.
"""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from brmrs.columns import (
    ADDITIVE,
    NO_PART,
    PARTS,
    REDUNDANT,
    SYNERGY,
    TEST,
    TEXT,
    TEXT_UNIQUE,
    VALIDATION,
    VISUAL,
    VISUAL_UNIQUE,
)
from brmrs.config.learning import DiagnosisConfig
from brmrs.diagnosis import rows
from brmrs.diagnosis.groups import groups
from brmrs.diagnosis.measured import Measured
from brmrs.diagnosis.scan import by_part
from brmrs.evaluation.comparison import BETTER, WORSE, compare
from brmrs.graphs.user_items import UserItems
from brmrs.models.base import Branch
from brmrs.sample.latent import World, draw_interactions, draw_world

USERS, ITEMS, K = 400, 300, 10

Shares = dict[tuple[str, str], float]


def branches_of(world: World) -> dict[str, Branch]:
    of = dict(zip(PARTS, world.contributions(), strict=True))
    z, w = world.items[ADDITIVE], world.users[ADDITIVE]
    by_half = [
        (w @ half.T) @ (half @ z.T) / w.shape[1] ** 0.5
        for half in (world.text_half, world.visual_half)
    ]
    assert by_half[0] + by_half[1] == pytest.approx(of[ADDITIVE])
    scores: dict[str, NDArray[np.float64]] = {
        TEXT: of[TEXT_UNIQUE] + by_half[0] + of[REDUNDANT],
        VISUAL: of[VISUAL_UNIQUE] + by_half[1] + of[REDUNDANT],
        "fused": sum(of.values(), np.zeros((USERS, ITEMS))),
    }
    eye = torch.eye(USERS)
    return {
        name: Branch(eye, torch.from_numpy(s.T.astype(np.float32))) for name, s in scores.items()
    }


@pytest.fixture(scope="module")
def measured() -> Measured:
    rng = np.random.default_rng(0)
    world = draw_world(rng, USERS, ITEMS)
    user, item, kind = draw_interactions(rng, world.contributions())
    order = np.lexsort((rng.random(len(user)), user))
    place = np.empty_like(order)
    place[order] = np.arange(len(user)) - np.searchsorted(user, user[order])  # 0, 1, ... per user

    def items_of(chosen: NDArray[np.bool_]) -> UserItems:
        users, items = (torch.from_numpy(x[chosen]) for x in (user, item))
        return UserItems.from_pairs(users, items, USERS, ITEMS)

    parts = {VALIDATION: items_of(place == 0), TEST: items_of(place == 1)}
    train = items_of(place > 1)
    kinds = {(u, i): (*PARTS, NO_PART)[k] for u, i, k in zip(user, item, kind, strict=True)}
    test = parts[TEST]
    pairs_of_test = zip(test.users.tolist(), test.items.tolist(), strict=True)
    types = np.array([kinds[pair] for pair in pairs_of_test], dtype=object)
    scans = by_part(branches_of(world), parts, train, "random", k=K, negatives=8, seed=0)
    config, found = DiagnosisConfig(k=K), groups(len(types), [], types)
    return Measured(
        scans[VALIDATION], scans[TEST], parts, train, config, 2, True, found, types, None
    )


@pytest.fixture(scope="module")
def shares(measured: Measured) -> Shares:
    """The share of each set, by planted type."""
    return {(row["stratum"], row["set"]): row["value"] for row in rows.sets(measured)}


@pytest.mark.parametrize(
    ("of_set", "kind"),
    [("only_text", TEXT_UNIQUE), ("only_visual", VISUAL_UNIQUE), ("synergy", SYNERGY)],
)
def test_the_type_with_the_largest_share_of_a_set(shares: Shares, of_set: str, kind: str) -> None:
    by_type = {name: shares[name, of_set] for name in PARTS}
    assert max(by_type, key=lambda name: by_type[name]) == kind


def test_what_text_alone_explains_in_order(shares: Shares) -> None:
    text = {name: shares[name, "only_text"] - shares[name, "only_visual"] for name in PARTS}
    assert text[TEXT_UNIQUE] > max(text[ADDITIVE], text[REDUNDANT], text[SYNERGY])
    assert text[VISUAL_UNIQUE] < min(text[ADDITIVE], text[REDUNDANT], text[SYNERGY])


def test_the_information_of_each_type(measured: Measured) -> None:
    bits = {(row["stratum"], row["quantity"]): row["value"] for row in rows.information(measured)}
    assert bits[TEXT_UNIQUE, "text"] > bits[TEXT_UNIQUE, "visual"]
    assert bits[VISUAL_UNIQUE, "visual"] > bits[VISUAL_UNIQUE, "text"]
    beyond = {name: bits[name, "both_beyond_sum"] for name in PARTS}
    assert max(beyond, key=lambda name: beyond[name]) == SYNERGY
    assert beyond[SYNERGY] > 0.1
    for part in ("text", "visual"):
        assert bits[REDUNDANT, part] > bits[SYNERGY, part]


def test_the_order_of_the_types_holds_with_intervals(measured: Measured) -> None:
    """Text hits minus visual hits, by type: one pair per user, so the differences are paired."""
    assert measured.types is not None
    difference = measured.hits[TEXT] - measured.hits[VISUAL]
    found = compare({name: difference[measured.types == name] for name in PARTS})
    assert found[TEXT_UNIQUE].verdict == BETTER
    assert found[VISUAL_UNIQUE].verdict == WORSE
    others = [found[name] for name in (ADDITIVE, REDUNDANT, SYNERGY)]
    assert found[VISUAL_UNIQUE].high < min(each.low for each in others)
    assert found[TEXT_UNIQUE].low > max(each.high for each in others)


def test_information_beyond_the_sum_tells_the_planted_synergy_with_intervals(
    measured: Measured,
) -> None:
    """The set `synergy` has its largest share there, too, but its intervals overlap."""
    beyond = {
        row["stratum"]: row
        for row in rows.information(measured)
        if row["quantity"] == "both_beyond_sum"
    }
    rest = [beyond[name]["high"] for name in PARTS if name != SYNERGY]
    assert beyond[SYNERGY]["low"] > max(rest)


def test_recall_by_type_has_every_branch(measured: Measured) -> None:
    found = {(row["stratum"], row["branch"]): row["value"] for row in rows.recall(measured)}
    assert found[TEXT_UNIQUE, TEXT] > found[TEXT_UNIQUE, VISUAL]
    assert found[VISUAL_UNIQUE, VISUAL] > found[VISUAL_UNIQUE, TEXT]
    assert all(found[name, "fused"] > max(found[name, TEXT], found[name, VISUAL]) for name in PARTS)
