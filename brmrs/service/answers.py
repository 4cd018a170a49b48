"""The shapes of the answers. The OpenAPI document is derived from them."""

from typing import Any

import orjson
from fastapi import Response
from pydantic import BaseModel, ConfigDict


class Shape(BaseModel):
    """Base of all answers: the text under a field describes it."""

    model_config = ConfigDict(use_attribute_docstrings=True, extra="forbid")


class Error(Shape):
    """Any answer that is no success."""

    error: str
    """What is wrong, in one line."""


class Card(Shape):
    """An item."""

    item: str
    """Raw id (ASIN), as in the dump."""
    title: str
    """The title; without one brand, category and id."""
    brand: str | None
    category: str | None
    """The most specific category."""
    picture: str | None
    """Address of the picture on this server; null without a picture."""


class RankedCard(Card):
    """An item in a ranking."""

    rank: int
    """Counted from 1."""
    score: float


class RunSummary(Shape):
    """A run of the data set."""

    run: str
    model: str
    seed: int
    kind: str
    """The command that made it: run, retrain, benchmark or tune."""
    note: str
    metrics: dict[str, float]
    """Test metrics of the fused branch; empty if it was not evaluated."""


class Status(Shape):
    """The served run."""

    run: str
    model: str
    data: str
    branches: list[str]
    """By which items can be ranked; the fused one first."""
    modalities: list[str]
    """By which items can be compared."""
    users: int
    items: int
    promoted: bool
    """Whether the run was promoted; otherwise it is the latest or was named at the start."""
    metrics: dict[str, float]
    """Test metrics of the fused branch; empty if it was not evaluated."""
    approximate: dict[str, float]
    """Branches that are ranked by an approximate index, and its recall at 100 ranks."""
    other_runs: list[RunSummary]
    """Further runs of the data set, newest first; the parameter `run` takes their names."""
    problem: str
    """Why the run that should be served could not be loaded; empty if nothing failed."""


class User(Shape):
    """A user that the model was trained on."""

    id: str
    n_history: int
    """Number of training items."""


class Users(Shape):
    """Users by the start of their id, or those with the most training items."""

    run: str
    users: list[User]


class Category(Shape):
    """A category of items."""

    name: str
    items: int


class Categories(Shape):
    """Categories of all levels, the largest first."""

    run: str
    categories: list[Category]


class History(Shape):
    """The items of a user, newest first where the data have times."""

    run: str
    user: str
    items: list[Card]
    """Those that the model was trained on."""
    held_out: list[Card]
    """Those of the validation and test splits."""
    left_out: int
    """Items of a long history that are not listed."""


class Recommendations(Shape):
    """The best items for a user."""

    run: str
    user: str | None
    """Null for a history."""
    branch: str
    items: list[RankedCard]


class HistoryRecommendations(Recommendations):
    """The best items for a history."""

    unknown: list[str]
    """Ids of the history that the model does not know; they have no effect."""


class Item(Card):
    """An item with all that is known."""

    run: str
    categories: list[str]
    """From the broadest to the most specific."""
    n_users: int
    """Number of training users who have it."""


class Similar(Shape):
    """Items that are like an item."""

    run: str
    item: str
    modality: str
    items: list[RankedCard]


class BranchScore(Shape):
    """The score of an item by one branch."""

    branch: str
    score: float
    rank: int
    """Among the items outside the history, counted from 1."""
    of: int
    """Number of items that are ranked."""
    share: float | None
    """Of the fused score, where the other branches add up to it; else null."""


class Contribution(Card):
    """An item of the history."""

    contribution: float
    """To the fused score, computed as `method` describes."""


class Explanation(Card):
    """Why an item is recommended."""

    run: str
    user: str | None
    """Null for a history."""
    branches: list[BranchScore]
    additive: bool
    """Whether the scores of the other branches add up to the fused score."""
    history: list[Contribution]
    """The largest contribution first."""
    history_score: float | None
    """The fused score of the history, computed as `method` describes; null without a history."""
    history_left_out: int
    """Items of a long history whose contribution was not computed."""
    method: str
    """How contributions are computed."""
    unknown: list[str]
    """Ids of the history that the model does not know."""


class Found(Shape):
    """Items found by words."""

    run: str
    items: list[Card]


class Health(Shape):
    """The process answers."""

    status: str


def json(value: Any, status: int = 200) -> Response:
    """A JSON answer. Strings are valid Unicode: the tables and the bundle were checked."""
    return Response(orjson.dumps(value), status, media_type="application/json")
