"""Example users: training items, recommendations, test items."""

from dataclasses import dataclass

import polars as pl

from brmrs import columns
from brmrs.columns import TEST, TRAIN
from brmrs.report.gallery import Card, Gallery
from brmrs.report.inputs import Inputs
from brmrs.report.numbers import number
from brmrs.report.page import Section, section

SHOWN = 6  # items of a history, and of the recommendations
MOST_HELD_OUT = 12


@dataclass(frozen=True)
class Story:
    """One user.

    Attributes:
        user_id: raw id.
        history: the first training items.
        trained: number of training items.
        recommended: the first recommendations.
        held_out: the first test items.
        tested: number of test items.
    """

    user_id: str
    history: list[Card]
    trained: int
    recommended: list[Card]
    held_out: list[Card]
    tested: int


def users(inputs: Inputs, gallery: Gallery) -> Section | None:
    """The first users that have test items; None if none is to be shown."""
    found = stories(inputs, gallery, inputs.config.report.users)
    if not found:
        return None
    return section("users", "Example users", stories=found, left_out=gallery.left_out)


def stories(inputs: Inputs, gallery: Gallery, count: int) -> list[Story]:
    """The first users by id that have test items."""
    split = inputs.split
    chosen = split.filter(pl.col(columns.SPLIT) == TEST)[columns.USER].unique().sort()[:count]
    names = inputs.users[columns.USER_ID]
    return [
        _story(
            names[user],
            split.filter(pl.col(columns.USER) == user),
            inputs.recommendations.filter(
                (pl.col(columns.USER) == user) & (pl.col(columns.RANK) <= SHOWN)
            ).sort(columns.RANK),
            gallery,
        )
        for user in chosen
    ]


def _story(user_id: str, own: pl.DataFrame, recommended: pl.DataFrame, gallery: Gallery) -> Story:
    parts = {
        part: own.filter(pl.col(columns.SPLIT) == part)[columns.ITEM].to_list()
        for part in (TRAIN, TEST)
    }
    found = set(recommended[columns.ITEM])
    cards = [
        gallery.card(
            row[columns.ITEM],
            mark="in test" if row[columns.ITEM] in parts[TEST] else "",
            note=number(f"score.{user_id}.{row[columns.RANK]}", row[columns.SCORE], "score"),
        )
        for row in recommended.iter_rows(named=True)
    ]
    return Story(
        user_id,
        [gallery.card(item) for item in parts[TRAIN][:SHOWN]],
        len(parts[TRAIN]),
        cards,
        [
            gallery.card(item, mark="recommended" if item in found else "")
            for item in parts[TEST][:MOST_HELD_OUT]
        ],
        len(parts[TEST]),
    )
