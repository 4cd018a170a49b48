"""Every kind of scorer that a bundle can hold answers all questions."""

import httpx
import pytest
import torch
from served_store import Maker, running

from brmrs.columns import FUSED
from brmrs.models.base import Branch, Scorer
from brmrs.models.scorers import (
    SCORERS,
    AttentiveMetric,
    AttentiveParts,
    ItemNeighbours,
    ItemWeights,
)
from brmrs.models.standardised import StandardisedSum
from brmrs.serving.fold_in import history_scores
from brmrs.serving.recommend import recommend
from brmrs.store.artifacts import ArtifactStore

USERS, ITEMS, DIM, PARTS = 40, 30, 8, 3


def scorer(kind: str, maker: Maker) -> Scorer:
    """A random one."""
    generator = torch.Generator().manual_seed(1)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    seen = maker.seen.indptr, maker.seen.items
    if kind == "item-weights":
        return ItemWeights(*seen, drawn(ITEMS, ITEMS))
    if kind == "item-neighbours":
        columns = torch.randint(ITEMS, (ITEMS * PARTS,), generator=generator)
        return ItemNeighbours(
            *seen, torch.arange(0, ITEMS * PARTS + 1, PARTS), columns, drawn(ITEMS * PARTS)
        )
    if kind == "attentive-metric":
        return AttentiveMetric(
            drawn(USERS, DIM),
            drawn(ITEMS, DIM),
            drawn(USERS, 4),
            drawn(ITEMS, 4),
            drawn(DIM, 4),
            drawn(DIM),
        )
    if kind == "attentive-parts":
        present = torch.rand(ITEMS, PARTS, generator=generator) < 0.7
        parts = drawn(ITEMS, PARTS, DIM), drawn(ITEMS, PARTS, DIM)
        return AttentiveParts(
            drawn(USERS, DIM), drawn(ITEMS, DIM), drawn(USERS, DIM), *parts, present
        )
    if kind == "standardised-sum":
        both = {
            "one": Branch(drawn(USERS, DIM), drawn(ITEMS, DIM)),
            "two": ItemWeights(*seen, drawn(ITEMS, ITEMS)),
        }
        return StandardisedSum(torch.tensor([1.0, 0.5]), both)
    assert kind == "inner-product"
    return Branch(drawn(USERS, DIM), drawn(ITEMS, DIM))


@pytest.mark.parametrize("kind", sorted(SCORERS))
def test_all_questions_are_answered(kind: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    store = ArtifactStore(tmp_path_factory.mktemp("service") / "artifacts")
    maker = Maker(store, "only")
    fused = scorer(kind, maker)
    parts = dict(fused.parts) if isinstance(fused, StandardisedSum) else {}
    maker.branches = {FUSED: fused, **parts}
    maker.write()
    bundle = maker.bundle("br-mrs")
    with running(store) as client:
        for user in maker.user_ids[:3]:
            rows = get(client, f"/v1/users/{user}/recommendations")["items"]
            wanted = recommend(bundle, user, 10)
            assert [row["item"] for row in rows] == [asin for _, asin, _ in wanted]
            assert [row["score"] for row in rows] == pytest.approx(
                [score for *_, score in wanted], abs=1e-4
            )
        assert get(client, "/v1/items/A%2F00003/similar")["items"]
        why = get(client, "/v1/explain?user=U00002&item=A%2F00004")
        assert [row["branch"] for row in why["branches"]] == [FUSED, *sorted(parts)]
        history = maker.seen.items[maker.seen.indptr[2] : maker.seen.indptr[3]].tolist()
        folded = history_scores(bundle, history)
        assert why["history_score"] == pytest.approx(float(folded[4]), abs=1e-3)
        body = {"history": [maker.item_ids[item] for item in history]}
        found = client.post("/v1/recommendations", json=body).json()["items"]
        folded[history] = -torch.inf
        assert found[0]["item"] == maker.item_ids[int(folded.argmax())]


def get(client: httpx.Client, path: str) -> dict[str, list[dict[str, object]]]:
    found = client.get(path)
    assert found.status_code == 200, found.text
    answer: dict[str, list[dict[str, object]]] = found.json()
    return answer
