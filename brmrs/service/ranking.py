"""Recommendations and scores of one user, known or new."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from brmrs.evaluation.ranking import finite
from brmrs.service.loaded import LoadedRun
from brmrs.service.problem import Problem, brief
from brmrs.serving.fold_in import history_scores


@dataclass(frozen=True)
class Wanted:
    """What to recommend.

    Attributes:
        branch: to rank by.
        k: number of items; fewer are returned where fewer are left.
        exclude_seen: leave out the items of the history.
        category: only items of this category, of any level; None: all items.
    """

    branch: str
    k: int
    exclude_seen: bool = True
    category: str | None = None


def for_user(run: LoadedRun, name: str, wanted: Wanted) -> dict[str, Any]:
    """The best items of a user that the model was trained on.

    Raises:
        Problem: the user, the branch or the category is unknown.
    """
    user = run.user(name)
    items = _approximate(run, user, wanted)
    if items is None:
        scores = scores_of(run, user, wanted.branch)
        items = _ranked(run, scores, run.seen(user), wanted)
    return {"run": run.name, "user": name, "branch": wanted.branch, "items": items}


def _approximate(run: LoadedRun, user: int, wanted: Wanted) -> list[dict[str, Any]] | None:
    """The ranking by the index of the branch; None if there is none or it finds too few items."""
    index = run.indices.get(wanted.branch)
    if index is None or wanted.category is not None:
        return None
    left_out = run.seen(user) if wanted.exclude_seen else run.seen(user)[:0]
    items, scores = index.best(user, wanted.k, left_out)
    return cards(run, items, scores) if len(items) == wanted.k else None


def for_history(run: LoadedRun, asins: Sequence[str], wanted: Wanted) -> dict[str, Any]:
    """The best items of a new user, from a history of items.

    Ids that the model does not know are listed under `unknown` and have no effect.

    Raises:
        Problem: no id is known, or the branch or the category is unknown.
    """
    items, unknown = known_items(run, asins)
    scores = folded_scores(run, items, wanted.branch)
    ranked = _ranked(run, scores, torch.tensor(items), wanted)
    answer = {"run": run.name, "user": None, "branch": wanted.branch, "items": ranked}
    return {**answer, "unknown": unknown}


def known_items(run: LoadedRun, asins: Sequence[str]) -> tuple[list[int], list[str]]:
    """The dense ids of a history, each once, and the ids that the model does not know.

    Raises:
        Problem: none is known.
    """
    index = run.bundle.item_index
    once = list(dict.fromkeys(asins))
    items = [index[asin] for asin in once if asin in index]
    if not items:
        raise Problem(404, "the model knows no item of the history")
    return items, [asin for asin in once if asin not in index]


def scores_of(run: LoadedRun, user: int, branch: str) -> Tensor:
    """(I,) scores of a user by a branch."""
    return finite(run.scorer(branch).scores(torch.tensor([user]))[0])


def folded_scores(run: LoadedRun, items: Sequence[int], branch: str) -> Tensor:
    """(I,) scores of a user who is known only by a history."""
    run.scorer(branch)  # a branch that is unknown is the caller's fault
    return finite(history_scores(run.bundle, items, branch))


def _ranked(
    run: LoadedRun, scores: Tensor, history: Tensor, wanted: Wanted
) -> list[dict[str, Any]]:
    """The cards of the best items, with rank (from 1) and score. Changes the scores."""
    if wanted.category is not None:
        chosen = run.catalogue.by_category.get(wanted.category)
        if chosen is None:
            raise Problem(404, f"no category {brief(wanted.category)}")
        kept = torch.full_like(scores, -torch.inf)
        places = torch.from_numpy(chosen)
        kept[places] = scores[places]
        scores = kept
    if wanted.exclude_seen:
        scores[history] = -torch.inf
    return cards(run, *first(scores, wanted.k))


def first(scores: Tensor, k: int) -> tuple[list[int], list[float]]:
    """The K best items with their scores; equal scores by increasing item.

    As `brmrs.graphs.top_k.best` for one row, in a third of its time.

    Args:
        scores: (I,); items at -inf are left out.
        k: K.
    """
    values = scores.numpy()
    items = np.arange(len(values))
    if k < len(values):
        items = np.flatnonzero(values >= np.partition(values, -k)[-k])
    items = items[np.argsort(-values[items], kind="stable")[:k]]
    items = items[values[items] > -np.inf]
    return items.tolist(), values[items].tolist()


def cards(run: LoadedRun, items: list[int], scores: list[float]) -> list[dict[str, Any]]:
    """Items as answers show them, with rank (from 1) and score."""
    return [
        {"rank": rank, "score": score, **run.catalogue.card(item)}
        for rank, (item, score) in enumerate(zip(items, scores, strict=True), 1)
    ]
