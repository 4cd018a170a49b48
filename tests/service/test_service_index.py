"""The approximate index against exact rankings."""

import time
from typing import Any

import pytest
import torch
from served_store import Maker, running

from brmrs.evaluation.ranking import top_k
from brmrs.graphs.top_k import best
from brmrs.models.base import Branch
from brmrs.service import index
from brmrs.service.ranking import first
from brmrs.store.artifacts import ArtifactStore


@pytest.fixture
def no_exact_items(monkeypatch: pytest.MonkeyPatch) -> None:
    """An index is built for any number of items."""
    monkeypatch.setattr(index, "EXACT_ITEMS", 0)


def clustered(users: int, items: int, seed: int) -> Branch:
    """Vectors around common centres, as trained ones are."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(20, 16, generator=generator)

    def around(rows: int) -> torch.Tensor:
        chosen = torch.randint(20, (rows,), generator=generator)
        return centres[chosen] + 0.3 * torch.randn(rows, 16, generator=generator)

    return Branch(around(users), around(items))


@pytest.mark.usefixtures("no_exact_items")
def test_the_recall_is_that_of_the_answers() -> None:
    branch = clustered(200, 3000, seed=0)
    built = index.build("fused", branch)
    assert built is not None
    assert built.cells.nprobe < built.cells.nlist // 4
    exact_items, exact_scores = top_k(branch, torch.arange(200), 100)
    hits = 0
    for user in range(200):
        items, scores = built.best(user, 100, torch.tensor([], dtype=torch.long))
        wanted = dict(zip(exact_items[user].tolist(), exact_scores[user].tolist(), strict=True))
        common = [(s, wanted[i]) for i, s in zip(items, scores, strict=True) if i in wanted]
        assert [ours for ours, _ in common] == pytest.approx([w for _, w in common], abs=1e-4)
        assert scores == sorted(scores, reverse=True)
        hits += len(common)
    assert hits / 20_000 == pytest.approx(built.recall, abs=1e-6)
    assert built.recall >= 0.98


@pytest.mark.usefixtures("no_exact_items")
def test_left_out_items_are_replaced() -> None:
    branch = clustered(10, 2000, seed=1)
    built = index.build("fused", branch)
    assert built is not None
    first, _ = built.best(4, 10, torch.tensor([], dtype=torch.long))
    rest, _ = built.best(4, 10, torch.tensor(first[:5]))
    assert rest[:5] == first[5:]
    assert len(rest) == 10
    assert not set(rest) & set(first[:5])


@pytest.mark.usefixtures("no_exact_items")
def test_no_index_where_it_would_not_help() -> None:
    generator = torch.Generator().manual_seed(0)
    flat = Branch(
        torch.randn(50, 64, generator=generator), torch.randn(900, 64, generator=generator)
    )
    assert index.build("fused", flat) is None  # every cell would have to be searched


def test_few_items_are_ranked_exactly() -> None:
    assert index.build("fused", clustered(5, 500, seed=0)) is None


@pytest.mark.usefixtures("no_exact_items")
def test_the_service_ranks_by_the_index_and_reports_its_recall(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    branch = clustered(40, 2000, seed=2)
    store = ArtifactStore(tmp_path_factory.mktemp("service") / "artifacts")
    maker = Maker(store, "many", items=2000, fused=branch)
    maker.write()
    with running(store) as client:
        deadline = time.monotonic() + 30
        status: dict[str, Any] = {}
        while not status.get("approximate"):
            assert time.monotonic() < deadline
            status = client.get("/v1/status").json()
        assert status["approximate"]["fused"] >= 0.98
        found = client.get("/v1/users/U00003/recommendations?k=20").json()["items"]
        exact = top_k(branch, torch.tensor([3]), 20, maker.seen)[0][0].tolist()
        names = {maker.item_ids[item] for item in exact}
        assert len(names & {row["item"] for row in found}) >= 19
        inside = client.get("/v1/users/U00003/recommendations?k=20&category=Mug").json()["items"]
        assert {row["category"] for row in inside} == {"Mug"}
        assert len(inside) == 20


@pytest.mark.parametrize("k", [1, 3, 10, 50, 60])
def test_the_best_of_one_row_are_those_of_many(k: int) -> None:
    """Also where scores are equal, or items are left out."""
    generator = torch.Generator().manual_seed(k)
    for levels in (2, 5, 1000):
        scores = torch.randint(levels, (50,), generator=generator).float()
        scores[torch.rand(50, generator=generator) < 0.3] = -torch.inf
        values, items = best(scores.unsqueeze(0), k)
        left = int((values > -torch.inf).sum())
        assert first(scores, k) == (items[0, :left].tolist(), values[0, :left].tolist())
