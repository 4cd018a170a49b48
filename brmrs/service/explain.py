"""Why an item is recommended: its score by branch, and the history items that carry the score."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from brmrs.columns import FUSED
from brmrs.service.limits import MOST_EXPLAINED
from brmrs.service.loaded import LoadedRun
from brmrs.service.ranking import folded_scores, known_items, scores_of

METHOD = (
    "contribution = score of the history minus score of the history without the item, both folded "
    "in by the fused branch"
)


def for_user(run: LoadedRun, name: str, asin: str) -> dict[str, Any]:
    """The explanation for a user that the model was trained on.

    Raises:
        Problem: the user or the item is unknown.
    """
    user, item = run.user(name), run.item(asin)
    history = run.history.of(user)
    scores = {branch: scores_of(run, user, branch) for branch in run.branches}
    return {"run": run.name, "user": name, **_explanation(run, scores, history, item)}


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
        "history": _contributions(run, history, item),
        "history_left_out": max(0, len(history) - MOST_EXPLAINED),
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


def _contributions(run: LoadedRun, history: Sequence[int], item: int) -> list[dict[str, Any]]:
    """The contribution of each history item, the largest first."""
    used = list(history[:MOST_EXPLAINED])
    if not used:
        return []
    whole = float(folded_scores(run, used, FUSED)[item])
    rows = []
    for place, other in enumerate(used):
        rest = used[:place] + used[place + 1 :]
        without = float(folded_scores(run, rest, FUSED)[item]) if rest else 0.0
        rows.append({"contribution": whole - without, **run.catalogue.card(other)})
    return sorted(rows, key=lambda row: -row["contribution"])
