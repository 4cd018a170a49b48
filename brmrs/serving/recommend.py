"""Recommendations and similar items from a model bundle."""

from collections.abc import Sequence

import torch

from brmrs.errors import UserError
from brmrs.evaluation.ranking import finite, top_k
from brmrs.graphs.top_k import best
from brmrs.models.bundle import Bundle
from brmrs.serving.fold_in import history_scores
from brmrs.suggest import nearest

Ranked = list[tuple[int, str, float]]  # rank (counted from 1), asin, score


def recommend(bundle: Bundle, user_id: str, k: int) -> Ranked:
    """The K best items for a user by the fused score, without the user's training items.

    Args:
        bundle: the model.
        user_id: a raw id of the training data.
        k: K; fewer are returned where fewer items are left.

    Raises:
        UserError: the bundle has no such user, or its scores are NaN or infinite.
    """
    _check(k)
    user = bundle.user_index.get(user_id)
    if user is None:
        raise UserError(
            f"no user {user_id!r} among the {len(bundle.about.users)} that the model was trained "
            f"on{_close(user_id, bundle.about.users)}. Users with fewer interactions than ingest.k "
            "are left out; for them and for new users name the items of the history (--history)"
        )
    items, scores = top_k(
        bundle.fused, torch.tensor([user]), min(k, len(bundle.about.items)), bundle.seen
    )
    return _ranked(bundle, items[0].tolist(), scores[0].tolist())


def recommend_to_new_user(
    bundle: Bundle, history: Sequence[str], k: int
) -> tuple[Ranked, list[str]]:
    """The K best items for a user known only by a history, without the items of the history.

    Args:
        bundle: the model.
        history: item ids, in any order.
        k: K; fewer are returned where fewer items are left.

    Returns:
        The items, and the ids of the history that the model does not know, which do not count.

    Raises:
        UserError: the model knows no item of the history, or its scores are NaN or infinite.
    """
    _check(k)
    known = [bundle.item_index[asin] for asin in history if asin in bundle.item_index]
    unknown = [asin for asin in dict.fromkeys(history) if asin not in bundle.item_index]
    if not known:
        hint = _close(unknown[0], bundle.about.items) if unknown else ""
        raise UserError(
            f"the history has no item among the {len(bundle.about.items)} that the model was "
            f"trained on: {', '.join(unknown[:3]) or 'it is empty'}{hint}"
        )
    scores = finite(history_scores(bundle, known))
    scores[known] = -torch.inf
    best_scores, items = best(scores.unsqueeze(0), min(k, len(scores) - len(set(known))))
    return _ranked(bundle, items[0].tolist(), best_scores[0].tolist()), unknown


def similar(bundle: Bundle, asin: str, k: int) -> Ranked:
    """The K items nearest to an item by the fused branch: cosine, or the model's own similarity.

    Args:
        bundle: the model.
        asin: an item of the training data; the result does not contain it.
        k: K; fewer are returned where there are fewer other items.

    Raises:
        UserError: the bundle has no such item, or its scores are NaN or infinite.
    """
    _check(k)
    item = bundle.item_index.get(asin)
    if item is None:
        raise UserError(
            f"no item {asin!r} among the {len(bundle.about.items)} that the model was trained on"
            f"{_close(asin, bundle.about.items)}. Items with fewer interactions than ingest.k are "
            "left out"
        )
    likeness = finite(bundle.fused.similarities(item))
    likeness[item] = -torch.inf
    scores, items = best(likeness.unsqueeze(0), min(k, len(likeness) - 1))
    return _ranked(bundle, items[0].tolist(), scores[0].tolist())


def _ranked(bundle: Bundle, items: Sequence[int], scores: Sequence[float]) -> Ranked:
    names = bundle.about.items
    return [
        (rank, names[item], score)
        for rank, (item, score) in enumerate(zip(items, scores, strict=True), start=1)
        if item >= 0
    ]


def _check(k: int) -> None:
    if k < 1:
        raise UserError(f"-k {k}: ask for at least one item")


def _close(wanted: str, names: Sequence[str]) -> str:
    """A hint at similar names. Compares only names with the same start, to be fast on millions."""
    start = wanted[:3].casefold()
    alike = [name for name in names if name[:3].casefold() == start]
    near = nearest(wanted, alike[:20_000], 3)
    return f" (did you mean {', '.join(near)}?)" if near else ""
