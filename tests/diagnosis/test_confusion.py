"""Known answers: the test item is item 0 for every user, K = 2."""

from collections.abc import Mapping

import numpy as np
import pytest
import torch

from brmrs.columns import TEST, TEXT, VALIDATION, VISUAL
from brmrs.config.learning import DiagnosisConfig
from brmrs.diagnosis import confusion
from brmrs.diagnosis.confusion import Cosines
from brmrs.diagnosis.groups import groups
from brmrs.diagnosis.measured import Measured
from brmrs.diagnosis.scan import by_part
from brmrs.diagnosis.schemas import QUADRANTS, SETS
from brmrs.diagnosis.summary import summary
from brmrs.evaluation.lists import Features
from brmrs.graphs.user_items import UserItems
from brmrs.models.base import Branch

USERS, ITEMS = 4, 6
Scores = list[list[float]]

FUSED_SCORES: Scores = [
    [8, 9, 0, 0, 0, 0],
    [1, 9, 8, 0, 0, 0],
    [9, 8, 0, 0, 0, 0],
    [1, 9, 8, 0, 0, 0],
]
TEXT_SCORES: Scores = [
    [5, 6, 0, 0, 0, 0],
    [9, 8, 7, 0, 0, 0],
    [0, 1, 2, 0, 0, 0],
    [0, 5, 4, 0, 0, 0],
]
VISUAL_SCORES: Scores = [
    [9, 3, 0, 0, 0, 0],
    [5, 4, 6, 7, 0, 0],
    [0, 1, 2, 0, 0, 0],
    [0, 5, 4, 0, 0, 0],
]


def items_of(*pairs: tuple[int, int]) -> UserItems:
    users, items = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).T
    return UserItems.from_pairs(users, items, USERS, ITEMS)


def measured(
    test: UserItems,
    *,
    validation: UserItems | None = None,
    train: UserItems | None = None,
    fused: Scores = FUSED_SCORES,
    text: Scores = TEXT_SCORES,
    visual: Scores = VISUAL_SCORES,
    k: int = 2,
) -> Measured:
    """The diagnosis of three tables of scores, a row per user."""
    scores: Mapping[str, Scores] = {"fused": fused, "text": text, "visual": visual}
    branches = {
        name: Branch(torch.eye(USERS), torch.tensor(rows, dtype=torch.float32).T)
        for name, rows in scores.items()
    }
    held_out = {VALIDATION: validation or items_of(), TEST: test}
    seen = train or items_of()
    scans = by_part(branches, held_out, seen, "random", k=k, negatives=8, seed=0)
    config = DiagnosisConfig(k=k)
    found = groups(len(test.items), [], None)
    return Measured(
        scans[VALIDATION], scans[TEST], held_out, seen, config, 2, True, found, None, None
    )


ALL_USERS = items_of(*((user, 0) for user in range(USERS)))


def test_by_hand() -> None:
    """User 0: the fused branch has the item behind item 1, which only text confuses.

    User 1: fused misses it behind items 1 and 2, both branches have it. Neither confuses item 1,
        only the picture confuses item 2.
    User 2: fused alone has it, first, so no negative is above it.
    User 3: nobody has it; both branches confuse items 1 and 2.
    """
    case = measured(ALL_USERS, train=items_of((3, 5)))
    assert [SETS[place] for place in case.sets] == ["both", "degeneration", "synergy", "none"]
    found = summary(case)
    above = found["confusion"]["by_score"]["above"]
    assert (above["value"], above["negatives"]) == (2 / 5, 5)
    assert found["degeneration"]["value"] == 1 / 2  # of users 0 and 1, whom a branch serves
    assert found["synergy"]["value"] == 1 / 2  # of users 0 and 2, whom fused serves
    quadrants = {name: each["value"] for name, each in found["quadrants"]["above"].items()}
    assert quadrants == {
        "both_separate": 1 / 5,
        "text_separates": 1 / 5,
        "visual_separates": 1 / 5,
        "neither_separates": 2 / 5,
    }
    assert {name: each["value"] for name, each in found["sets"].items()} == {
        "only_text": 0,
        "only_visual": 0,
        "both": 1 / 4,
        "synergy": 1 / 4,
        "degeneration": 1 / 4,
        "none": 1 / 4,
    }


@pytest.mark.parametrize(
    ("ranks", "expected"),
    [
        ((1, 9, 1), "only_text"),
        ((9, 1, 1), "only_visual"),
        ((1, 1, 1), "both"),
        ((9, 9, 1), "synergy"),
        ((1, 1, 9), "degeneration"),
        ((1, 9, 9), "degeneration"),
        ((9, 1, 9), "degeneration"),
        ((9, 9, 9), "none"),
        ((2, 3, 2), "only_text"),  # K itself is a hit
    ],
)
def test_each_set(ranks: tuple[int, int, int], expected: str) -> None:
    of = dict(zip((TEXT, VISUAL, "fused"), (torch.tensor([r]) for r in ranks), strict=True))
    assert SETS[confusion.set_of_each(of, 2)[0]] == expected


def test_held_out_and_training_items_are_no_negatives() -> None:
    """Item 1 is held out as well, item 4 validates, item 2 is trained: item 3 alone counts."""
    ones = [[1.0] * ITEMS] * (USERS - 1)
    case = measured(
        items_of((0, 0), (0, 1)),
        validation=items_of((0, 4)),
        train=items_of((0, 2)),
        fused=[[1, 9, 8, 6, 7, 0], *ones],
        text=[[1, 9, 8, 7, 7, 0], *ones],
        visual=[[5, 0, 0, 0, 0, 0], *ones],
        k=4,
    )
    above = summary(case)["confusion"]["by_score"]["above"]
    assert (above["value"], above["negatives"]) == (1, 1)


def test_no_share_of_nothing() -> None:
    found = summary(measured(items_of()))
    for name in ("degeneration", "synergy"):
        assert found[name] == {"value": None, "low": None, "high": None}
    assert found["sets"]["none"]["value"] is None
    assert found["information"] is None
    assert found["pairs"] == 0


def test_a_margin_of_zero_separates_nothing() -> None:
    text, visual = torch.tensor([1.0, 0.0, 1.0, 0.0]), torch.tensor([1.0, 1.0, 0.0, -2.0])
    assert [QUADRANTS[q] for q in confusion.quadrants(text, visual)] == [
        "both_separate",
        "visual_separates",
        "text_separates",
        "neither_separates",
    ]


def test_the_histogram_counts_every_margin() -> None:
    text = np.array([-9.0, -4.0, 0.0, 0.1, 3.99, 4.0, 50.0])
    counts = confusion.histogram(text, np.zeros(7))
    assert counts.sum() == 7
    assert counts[:, 10].tolist() == [2, *[0] * 9, 2, *[0] * 8, 3]


def test_confusable_by_cosine() -> None:
    """Items 0 to 4 on a circle, item 5 without a picture; a fifth of four others is one item."""
    angles = torch.tensor([0.0, 0.1, 1.0, 2.0, 3.0, 0.05])
    text = torch.stack([angles.cos(), angles.sin()], dim=1)
    visual = text[[0, 4, 1, 2, 3, 5]] * 7  # lengths do not matter
    present = torch.ones(6, dtype=torch.bool)
    pictured = present.clone()
    pictured[5] = False
    features = {TEXT: Features.of(text, present), VISUAL: Features.of(visual, pictured)}
    positives = torch.tensor([0])
    cosines = Cosines.of(features, 0.2, positives)
    others = torch.tensor([[1, 2, 5, 0, -1]])
    kept = cosines.comparable(positives, others)
    assert kept.tolist() == [[True, True, False, True, False]]
    kept[0, 3] = False  # the item itself
    by_text = cosines.confuse(TEXT, positives, others, kept)
    by_picture = cosines.confuse(VISUAL, positives, others, kept)
    assert by_text.tolist() == [[False, False, False, False, False]]  # item 5 is nearer
    assert by_picture.tolist() == [[False, True, False, False, False]]
    assert cosines.pairs(TEXT, positives, torch.tensor([2])).item() == pytest.approx(np.cos(1))


def test_few_items_stand_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """The threshold from 200 of 1,000 items is about that from all."""
    vectors = torch.randn(1000, 8, generator=torch.Generator().manual_seed(0))
    features = {TEXT: Features.of(vectors, torch.ones(1000, dtype=torch.bool))}
    positives = torch.arange(50)
    exact = Cosines.of(features, 0.1, positives).least[TEXT][:50]
    monkeypatch.setattr(confusion, "COMPARED_ITEMS", 200)
    near = Cosines.of(features, 0.1, positives).least[TEXT][:50]
    assert (exact - near).abs().max() < 0.25
    assert (exact - near).abs().mean() < 0.05
