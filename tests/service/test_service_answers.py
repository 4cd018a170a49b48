"""The answers of the service over HTTP, compared with direct computations."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import pytest
import torch
from served_store import Maker, running

from brmrs.columns import FUSED, TEST, TRAIN
from brmrs.service import endpoints, explain
from brmrs.serving.fold_in import history_scores
from brmrs.serving.recommend import recommend
from brmrs.serving.recommend import similar as similar_items
from brmrs.store.artifacts import ArtifactStore


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ArtifactStore:
    return ArtifactStore(tmp_path_factory.mktemp("service") / "artifacts")


@pytest.fixture(scope="module")
def maker(store: ArtifactStore) -> Maker:
    """The served run, the newest; the run `a-ease` is older."""
    Maker(store, "a-ease", seed=1).write("ease")
    made = Maker(store, "b-served")
    made.write()
    return made


@pytest.fixture(scope="module")
def client(store: ArtifactStore, maker: Maker) -> Iterator[httpx.Client]:
    with running(store) as client:
        yield client


def get(client: httpx.Client, path: str, **parameters: Any) -> dict[str, Any]:
    found = client.get(path, params=parameters)
    assert found.status_code == 200, found.text
    answer: dict[str, Any] = found.json()
    return answer


def ranking(answer: dict[str, Any]) -> list[tuple[int, str, float]]:
    return [(row["rank"], row["item"], row["score"]) for row in answer["items"]]


def test_status_describes_the_run_and_lists_the_others(client: httpx.Client) -> None:
    found = get(client, "/v1/status")
    assert (found["run"], found["model"], found["data"]) == ("b-served", "br-mrs", "made-up")
    assert found["branches"] == ["fused", "text", "visual"]
    assert found["modalities"] == ["fused", "text", "visual", "purchases"]
    assert (found["users"], found["items"], found["promoted"]) == (40, 30, False)
    assert [row["run"] for row in found["other_runs"]] == ["a-ease"]
    other = get(client, "/v1/status", run="a-ease")
    assert (other["model"], other["branches"]) == ("ease", ["fused"])
    assert [row["run"] for row in other["other_runs"]] == ["b-served"]


def test_recommendations_are_those_of_the_library(client: httpx.Client, maker: Maker) -> None:
    bundle = maker.bundle("br-mrs")
    for user in maker.user_ids[:5]:
        found = get(client, f"/v1/users/{user}/recommendations", k=7)
        assert ranking(found) == recommend(bundle, user, 7)
        assert (found["run"], found["user"], found["branch"]) == ("b-served", user, "fused")


@pytest.mark.parametrize("branch", ["fused", "text", "visual"])
@pytest.mark.parametrize("exclude_seen", [True, False])
@pytest.mark.parametrize("category", [None, "Mug", "Home"])
def test_branch_filter_and_history_by_brute_force(
    client: httpx.Client, maker: Maker, branch: str, exclude_seen: bool, category: str | None
) -> None:
    scores = maker.bundle("br-mrs").branches[branch].scores(torch.tensor([3]))[0]
    seen = set(maker.pairs[(maker.pairs[:, 0] == 3) & (maker.splits == TRAIN), 1].tolist())
    allowed = [
        item
        for item in range(maker.items)
        if not (exclude_seen and item in seen)
        and (category is None or (item % 6 and (category == "Home" or item % 5 == 1)))
    ]
    wanted = sorted(allowed, key=lambda item: (-float(scores[item]), item))[:12]
    given = {"category": category} if category else {}
    found = get(
        client,
        "/v1/users/U00003/recommendations",
        k=12,
        branch=branch,
        exclude_seen=exclude_seen,
        **given,
    )
    assert [row["item"] for row in found["items"]] == [maker.item_ids[item] for item in wanted]
    assert [row["score"] for row in found["items"]] == pytest.approx(
        [float(scores[item]) for item in wanted]
    )


def test_a_history_is_folded_in_and_unknown_ids_are_listed(
    client: httpx.Client, maker: Maker
) -> None:
    ids = maker.item_ids
    body = {"history": [ids[4], "nope", ids[9], ids[4]], "k": 5}
    found = client.post("/v1/recommendations", json=body).json()
    scores = history_scores(maker.bundle("br-mrs"), [4, 9])
    scores[[4, 9]] = -torch.inf
    best = scores.topk(5)
    assert [row["item"] for row in found["items"]] == [ids[item] for item in best.indices]
    assert [row["score"] for row in found["items"]] == pytest.approx(best.values.tolist(), rel=1e-5)
    assert (found["user"], found["unknown"]) == (None, ["nope"])
    refused = client.post("/v1/recommendations", json={"history": ["nope"]})
    assert refused.status_code == 404
    assert "no item of the history" in refused.json()["error"]


def test_a_second_run_answers_beside_the_served_one(client: httpx.Client, maker: Maker) -> None:
    other = Maker(maker.store, "unwritten", seed=1).bundle("ease")
    found = get(client, "/v1/users/U00002/recommendations", k=6, run="a-ease")
    assert found["run"] == "a-ease"
    assert ranking(found) == recommend(other, "U00002", 6)
    pictures = [row["picture"] for row in found["items"] if row["picture"]]
    assert all(address.endswith("?run=a-ease") for address in pictures)
    assert get(client, "/v1/users/U00002/recommendations", k=6)["run"] == "b-served"


def test_similar_items_by_the_model_are_those_of_the_library(
    client: httpx.Client, maker: Maker
) -> None:
    found = get(client, f"/v1/items/{quote('A/00007', safe='')}/similar", k=4)
    assert ranking(found) == similar_items(maker.bundle("br-mrs"), "A/00007", 4)


@pytest.mark.parametrize(("modality", "seed"), [("text", 1), ("visual", 2)])
def test_similar_items_by_features(client: httpx.Client, modality: str, seed: int) -> None:
    rows = np.random.default_rng(seed).normal(size=(30, 6)).astype(np.float32)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = unit @ unit[7]
    cosines[[3, 5, 7]] = -np.inf
    found = get(client, "/v1/items/A%2F00007/similar", k=30, modality=modality)
    order = np.argsort(-cosines, kind="stable")[:27]
    assert [row["item"] for row in found["items"]] == [f"A/{item:05d}" for item in order]
    assert found["items"][0]["score"] == pytest.approx(float(cosines[order[0]]), abs=1e-5)
    assert get(client, "/v1/items/A%2F00005/similar", modality=modality)["items"] == []


def test_similar_items_by_purchases(client: httpx.Client, maker: Maker) -> None:
    bought = np.zeros((maker.users, maker.items))
    train = maker.pairs[maker.splits == TRAIN]
    bought[train[:, 0], train[:, 1]] = 1
    norms = np.linalg.norm(bought, axis=0)
    cosines = bought.T @ bought[:, 8] / np.maximum(norms * norms[8], 1e-9)
    cosines[8] = 0
    found = get(client, "/v1/items/A%2F00008/similar", k=30, modality="purchases")
    scores = {row["item"]: row["score"] for row in found["items"]}
    assert len(scores) == int((cosines > 0).sum())
    assert scores == pytest.approx(
        {maker.item_ids[item]: cosines[item] for item in np.flatnonzero(cosines > 0)}, abs=1e-6
    )


def test_the_history_is_newest_first_and_shows_what_was_held_out(
    client: httpx.Client, maker: Maker
) -> None:
    found = get(client, "/v1/users/U00004/history")
    for part, name in ((TRAIN, "items"), (TEST, "held_out")):
        rows = (maker.pairs[:, 0] == 4) & (maker.splits == part)
        order = np.argsort(-maker.times[rows], kind="stable")
        wanted = [maker.item_ids[item] for item in maker.pairs[rows, 1][order]]
        assert [row["item"] for row in found[name]] == wanted


def test_long_histories_are_cut_and_the_rest_is_counted(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = get(client, "/v1/users/U00004/history")
    monkeypatch.setattr(endpoints, "MOST_HISTORY", 2)
    found = get(client, "/v1/users/U00004/history")
    assert found["items"] == whole["items"][:2]
    parts = [len(whole["items"]), len(whole["held_out"])]
    assert (whole["left_out"], found["left_out"]) == (0, sum(max(0, n - 2) for n in parts))
    monkeypatch.setattr(explain, "MOST_EXPLAINED", 3)
    why = get(client, "/v1/explain", user="U00004", item="A/00011")
    assert {row["item"] for row in why["history"]} == {row["item"] for row in whole["items"][:3]}
    assert why["history_left_out"] == parts[0] - 3
    monkeypatch.setattr(explain, "EXPLAIN_SECONDS", 0.0)
    assert len(get(client, "/v1/explain", user="U00004", item="A/00011")["history"]) == 1


def test_contributions_of_an_item_based_model_are_exact(client: httpx.Client, maker: Maker) -> None:
    weights = Maker(maker.store, "unwritten", seed=1).bundle("ease").fused.weights  # type: ignore[attr-defined]
    seen = maker.pairs[(maker.pairs[:, 0] == 6) & (maker.splits == TRAIN), 1]
    found = get(client, "/v1/explain", user="U00006", item="A/00011", run="a-ease")
    shares = {row["item"]: row["contribution"] for row in found["history"]}
    assert shares == pytest.approx(
        {maker.item_ids[item]: float(weights[item, 11]) for item in seen}, abs=1e-5
    )
    (fused,) = found["branches"]
    assert sum(shares.values()) == pytest.approx(fused["score"], abs=1e-4)
    assert found["history_score"] == pytest.approx(fused["score"], abs=1e-4)
    assert list(shares.values()) == sorted(shares.values(), reverse=True)


def test_an_explanation_has_score_rank_and_share_of_each_branch(
    client: httpx.Client, maker: Maker
) -> None:
    bundle = maker.bundle("br-mrs")
    found = get(client, "/v1/explain", user="U00001", item="A/00012")
    seen = maker.seen.items[maker.seen.indptr[1] : maker.seen.indptr[2]].tolist()
    others = [item for item in range(maker.items) if item not in seen and item != 12]
    for row in found["branches"]:
        scores = bundle.branches[row["branch"]].scores(torch.tensor([1]))[0]
        assert row["score"] == pytest.approx(float(scores[12]), abs=1e-5)
        assert row["rank"] == 1 + int((scores[others] > scores[12]).sum())
        assert row["of"] == len(others) + 1
    assert found["additive"]  # the fused vectors are those of both branches side by side
    assert sum(row["share"] or 0 for row in found["branches"]) == pytest.approx(1.0, abs=1e-3)
    assert found["history_left_out"] == 0


def test_contributions_are_differences_of_folded_scores(client: httpx.Client, maker: Maker) -> None:
    bundle, ids = maker.bundle("br-mrs"), maker.item_ids
    found = get(client, "/v1/explain", history=[ids[2], ids[3], "nope"], item=ids[20])
    whole = float(history_scores(bundle, [2, 3], FUSED)[20])
    assert found["history_score"] == pytest.approx(whole, abs=1e-4)
    assert {row["item"]: row["contribution"] for row in found["history"]} == pytest.approx(
        {
            ids[2]: whole - float(history_scores(bundle, [3], FUSED)[20]),
            ids[3]: whole - float(history_scores(bundle, [2], FUSED)[20]),
        },
        abs=1e-4,
    )
    assert found["unknown"] == ["nope"]
    both = client.get("/v1/explain", params={"item": ids[1], "user": "U00001", "history": ids[2]})
    assert both.status_code == 404
    assert "either user or history" in both.json()["error"]


def test_users_are_found_by_the_start_of_their_id(client: httpx.Client, maker: Maker) -> None:
    found = get(client, "/v1/users", query="U0001", limit=4)
    assert [user["id"] for user in found["users"]] == ["U00010", "U00011", "U00012", "U00013"]
    counts = maker.seen.counts.tolist()
    assert [user["n_history"] for user in found["users"]] == counts[10:14]
    most = get(client, "/v1/users", limit=3)["users"]
    assert [user["n_history"] for user in most] == sorted(counts, reverse=True)[:3]
    assert get(client, "/v1/users", query="u0001")["users"] == []


def test_search_finds_items_with_every_word(client: httpx.Client) -> None:
    titles = [row["title"] for row in get(client, "/v1/search", q="OAK mug")["items"]]
    assert titles
    assert all("Oak" in title and "Mug" in title for title in titles)
    first = get(client, "/v1/search", q="steel")["items"][0]["title"]
    assert first.startswith("Steel")
    assert get(client, "/v1/search", q="A/00007")["items"][0]["item"] == "A/00007"
    assert get(client, "/v1/search", q=".*")["items"] == []
    assert get(client, "/v1/search", q=" ")["items"] == []


def test_an_item_without_a_title_and_one_with_markup(client: httpx.Client) -> None:
    nameless = get(client, "/v1/items/A%2F00001")
    assert nameless["title"] == "Brand 1, Mug (A/00001)"
    assert nameless["categories"] == ["Home", "Mug"]
    assert get(client, "/v1/items/A/00002")["title"] == "<script>alert(1)</script> \u202eevil"
    bare = get(client, "/v1/items/A%2F00012")
    assert (bare["brand"], bare["category"], bare["picture"]) == (None, None, None)


def test_categories_of_all_levels(client: httpx.Client) -> None:
    rows = get(client, "/v1/categories")["categories"]
    assert rows[0] == {"name": "Home", "items": 25}
    assert {row["name"]: row["items"] for row in rows[1:]} == dict.fromkeys(
        ("Lamp", "Mug", "Bowl", "Clock", "Bag"), 5
    )


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/v1/users/nobody/recommendations", "no user 'nobody'"),
        ("/v1/users/nobody/history", "no user"),
        ("/v1/users/U00001/recommendations?branch=id", "the model has fused, text, visual"),
        ("/v1/users/U00001/recommendations?category=Hat", "no category 'Hat'"),
        ("/v1/users/U00001/recommendations?run=b", "no run 'b'"),
        ("/v1/items/nothing", "no item 'nothing'"),
        ("/v1/items/nothing/similar", "no item"),
        ("/v1/explain?user=U00001&item=nothing", "no item"),
        ("/v1/pictures/A%2F00005", "the item has no picture"),
        ("/v1/nowhere", "Not Found"),
        ("/page/../app.py", "Not Found"),
        ("/page/%2e%2e/app.py", "no such file"),
        ("/page//etc/passwd", "no such file"),
    ],
)
def test_what_is_unknown_is_one_line(client: httpx.Client, path: str, named: str) -> None:
    found = client.get(path)
    assert found.status_code == 404
    assert named in found.json()["error"]


def test_pictures_have_the_type_of_their_bytes(client: httpx.Client) -> None:
    kinds = {}
    for item in (0, 1, 2, 3, 4):
        found = client.get(f"/v1/pictures/A%2F{item:05d}")
        assert found.status_code == 200
        assert found.headers["x-content-type-options"] == "nosniff"
        kinds[item] = found.headers["content-type"]
    assert kinds == {
        0: "image/png",
        1: "image/jpeg",
        2: "image/gif",
        3: "image/webp",
        4: "image/bmp",
    }
    again = client.get("/v1/pictures/A%2F00000", headers={"If-None-Match": '"x"'})
    known = client.get("/v1/pictures/A%2F00000", headers={"If-None-Match": again.headers["etag"]})
    assert (known.status_code, known.content) == (304, b"")


@pytest.mark.parametrize(
    "path",
    ["/", "/healthz", "/metrics", "/page/main.js", "/v1/status", "/v1/pictures/A%2F00000"],
)
def test_head_gives_the_headers_of_get(client: httpx.Client, path: str) -> None:
    found, head = client.get(path), client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == found.headers["content-type"]
    if path != "/metrics":  # it counts these requests
        assert head.headers["content-length"] == str(len(found.content))


def test_head_is_counted_and_refused_where_there_is_no_get(client: httpx.Client) -> None:
    series = 'brmrs_http_requests_total{endpoint="healthz",status="200"} '

    def count() -> int:
        lines = client.get("/metrics").text.splitlines()
        return sum(int(line.removeprefix(series)) for line in lines if line.startswith(series))

    before = count()
    client.head("/healthz")
    assert count() == before + 1
    assert client.head("/v1/recommendations").status_code == 405


def test_metrics_count_requests_by_endpoint_and_status(client: httpx.Client) -> None:
    client.get("/v1/items/nothing")
    lines = client.get("/metrics").text.splitlines()
    assert any(
        line.startswith('brmrs_http_requests_total{endpoint="item",status="404"}') for line in lines
    )
    assert 'brmrs_served_run_info{run="b-served"} 1' in lines


def test_the_page_is_served(client: httpx.Client) -> None:
    found = client.get("/")
    assert found.status_code == 200
    assert found.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in found.headers["content-security-policy"]
