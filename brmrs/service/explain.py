"""Why an item is recommended: its score by branch, and the history items that carry the score."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from brmrs.columns import FUSED
from brmrs.evaluation.ranking import BLOCK_SCORES, finite
from brmrs.graphs.user_items import UserItems
from brmrs.service.limits import EXPLAIN_SECONDS, MOST_EXPLAINED
from brmrs.service.loaded import LoadedRun
from brmrs.service.ranking import folded_scores, known_items, scores_of

METHOD = (
    "contribution: score of the history by the fused branch, minus its score without the item. "
    "Exact for item-based models, whose contributions add up to the score. Other models score a "
    "history by fold-in (history_score), which differs from the score of a trained user."
)


def for_user(run: LoadedRun, name: str, asin: str) -> dict[str, Any]:
    """The explanation for a user that the model was trained on.

    Raises:
        Problem: the user or the item is unknown.
    """
    user, item = run.user(name), run.item(asin)
    history = run.history.of(user)
    scores = {branch: scores_of(run, user, branch) for branch in run.branches}
    found = _explanation(run, scores, history, item)
    return {"run": run.name, "user": name, **found, "unknown": []}


def for_history(run: LoadedRun, asins: Sequence[str], asin: str) -> dict[str, Any]:
    """The explanation for a history of items.

    Raises:
        Problem: the item or every item of the history is unknown.
    """
    item = run.item(asin)
    history, unknown = known_items(run, asins)
    scores = {branch: folded_scores(run, history, branch) for branch in run.branches}
    found = _explanation(run, scores, history, item)
    return {"run": run.name, "user": None, **found, "unknown": unknown}


def _explanation(
    run: LoadedRun, scores: dict[str, Tensor], history: Sequence[int], item: int
) -> dict[str, Any]:
    branches = [
        {"branch": name, **_place(of_branch, history, item)} for name, of_branch in scores.items()
    ]
    parts = [entry for entry in branches if entry["branch"] != FUSED]
    total = next(entry["score"] for entry in branches if entry["branch"] == FUSED)
    additive = bool(parts) and _close(sum(part["score"] for part in parts), total)
    for part in parts:
        part["share"] = part["score"] / total if additive and total else None
    return {
        **run.catalogue.card(item),
        "branches": branches,
        "additive": additive,
        **_contributions(run, history, item),
        "history_left_out": max(0, len(history) - _most_explained(run)),
        "method": METHOD,
    }


def _place(scores: Tensor, history: Sequence[int], item: int) -> dict[str, Any]:
    """Score and rank of the item, the rank among the items outside the history."""
    score = scores[item]
    better = scores > score
    better[list(history)] = False
    return {
        "score": float(score),
        "rank": int(better.sum()) + 1,
        "of": len(scores) - len([other for other in set(history) if other != item]),
        "share": None,
    }


def _close(one: float, other: float) -> bool:
    return abs(one - other) <= 1e-4 * max(1.0, abs(one), abs(other))


def _most_explained(run: LoadedRun) -> int:
    """Items of a history, the newest first, whose contributions are computed in bounded time."""
    return max(1, min(MOST_EXPLAINED, int(EXPLAIN_SECONDS / max(run.seconds, 1e-9))))


def _contributions(run: LoadedRun, history: Sequence[int], item: int) -> dict[str, Any]:
    """The contribution of each history item, the largest first, and the score of the history."""
    used = torch.tensor(history[: _most_explained(run)], dtype=torch.long)
    n = len(used)
    if not n:
        return {"history": [], "history_score": None}
    # Row 0 is the history; row 1 + j is the history without item j.
    rows = torch.arange(n + 1).repeat_interleave(n)
    items = used.repeat(n + 1)
    kept = rows - 1 != torch.arange(n).repeat(n + 1)
    histories = UserItems.from_pairs(rows[kept], items[kept], n + 1, len(run.catalogue.ids))
    scorer = run.bundle.fold_in[FUSED](histories)
    size = max(1, BLOCK_SCORES // max(1, histories.n_items))
    scores = torch.cat(
        [
            scorer.pairs(some, torch.full((len(some), 1), item))[:, 0]
            for some in torch.split(torch.arange(n + 1), size)
        ]
    )
    whole, contributions = float(finite(scores)[0]), (scores[0] - scores[1:]).tolist()
    cards = [
        {"contribution": contribution, **run.catalogue.card(other)}
        for contribution, other in zip(contributions, used.tolist(), strict=True)
    ]
    cards.sort(key=lambda card: -card["contribution"])
    return {"history": cards, "history_score": whole}
