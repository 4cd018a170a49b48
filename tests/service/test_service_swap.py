"""The served run moves, processes die: no request gets a wrong answer or a status of 500."""

import os
import re
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from command_line import COMMAND, environment
from served_store import Maker, running

from brmrs.service import limits, loaded, served
from brmrs.serving.current import promote, roll_back
from brmrs.serving.recommend import recommend
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.runs import Run

USERS = [f"U{user:05d}" for user in range(0, 40, 3)]
Ranking = list[tuple[str, Any]]  # scores are compared with a tolerance


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts")


@pytest.fixture
def runs(store: ArtifactStore) -> dict[str, Run]:
    return {name: Maker(store, name, seed=seed).write() for seed, name in enumerate(("one", "two"))}


@pytest.fixture
def expected(store: ArtifactStore, runs: dict[str, Run]) -> dict[tuple[str, str], Ranking]:
    """The right answer of each run for each user."""
    found = {}
    for seed, name in enumerate(runs):
        bundle = Maker(store, "unwritten", seed=seed).bundle("br-mrs")
        for user in USERS:
            best = recommend(bundle, user, 10)
            found[name, user] = [(asin, pytest.approx(score, abs=1e-4)) for _, asin, score in best]
    return found


class Load:
    """Clients that ask without pause; a lost connection is tried again, as a client would.

    Attributes:
        statuses: of all answers.
        wrong: answers that are not those of the run that they name.
        runs: the runs that answered.
    """

    def __init__(self, url: str, expected: dict[tuple[str, str], Ranking], clients: int = 4):
        self.statuses: Counter[int] = Counter()
        self.runs: Counter[str] = Counter()
        self.wrong: list[Any] = []
        self._expected, self._url = expected, url
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def _ask(self) -> None:
        turn = 0
        with httpx.Client(base_url=self._url, timeout=30) as client:
            while not self._stop.is_set():
                user = USERS[turn % len(USERS)]
                turn += 1
                try:
                    found = client.get(f"/v1/users/{user}/recommendations")
                except httpx.TransportError:
                    continue
                self.statuses[found.status_code] += 1
                if found.status_code == 200:
                    self._check(found.json(), user)

    def _check(self, answer: dict[str, Any], user: str) -> None:
        self.runs[answer["run"]] += 1
        got = [(row["item"], row["score"]) for row in answer["items"]]
        if got != self._expected[answer["run"], user]:
            self.wrong.append((answer["run"], user, got))

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def test_the_served_run_moves_under_load(
    store: ArtifactStore,
    runs: dict[str, Run],
    expected: dict[tuple[str, str], Ranking],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(served, "POLL_SECONDS", 0.02)
    promote(store, "one")
    with running(store) as client, Load(str(client.base_url), expected) as load:
        for turn in range(6):
            name = ("two", "one")[turn % 2]
            promote(store, name)
            until(lambda name=name: client.get("/v1/status").json()["run"] == name)  # type: ignore[misc]
            before = load.runs[name]
            until(lambda name=name, before=before: load.runs[name] > before + 5)  # type: ignore[misc]
        roll_back(store)
        until(lambda: client.get("/v1/status").json()["run"] == "two")
        assert client.get("/v1/status").json()["promoted"]
    assert set(load.statuses) == {200}
    assert not load.wrong
    assert load.runs.keys() == {"one", "two"}


def test_a_damaged_run_is_not_served_and_the_status_says_why(
    store: ArtifactStore, runs: dict[str, Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(served, "RETRY_SECONDS", 0.1)
    promote(store, "one")
    with running(store) as client:
        promote(store, "two")
        until(lambda: client.get("/v1/status").json()["run"] == "two")
        bundle = store.path(runs["one"].artifact("train"), "train/model.safetensors")
        whole = bundle.read_bytes()
        bundle.write_bytes(whole[:-4] + b"\0\0\0\0")
        current = store.root / "current.json"
        current.write_text(re.sub(r'"one",\s*"two"', '"two", "one"', current.read_text()))
        until(lambda: "missing or damaged" in client.get("/v1/status").json()["problem"])
        assert client.get("/v1/status").json()["run"] == "two"
        assert "brmrs_swap_failed 1" in client.get("/metrics").text
        assert client.get("/v1/users/U00001/recommendations").status_code == 200
        beside = client.get("/v1/status", params={"run": "one"})
        assert (beside.status_code, "damaged" in beside.json()["error"]) == (404, True)
        bundle.write_bytes(whole)
        until(lambda: client.get("/v1/status").json()["run"] == "one")
        assert client.get("/v1/status").json()["problem"] == ""


def test_a_new_run_is_listed_and_served_where_none_was_promoted(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served, "POLL_SECONDS", 0.02)
    Maker(store, "a").write()
    with running(store) as client:
        assert client.get("/v1/status").json()["run"] == "a"
        Maker(store, "b", seed=1).write()
        until(lambda: client.get("/v1/status").json()["run"] == "b")
        assert [row["run"] for row in client.get("/v1/status").json()["other_runs"]] == ["a"]
    with running(store, run="a") as client:
        Maker(store, "c", seed=2).write()
        until(lambda: len(client.get("/v1/status").json()["other_runs"]) == 2)
        assert client.get("/v1/status").json()["run"] == "a"


def test_requests_for_runs_that_load_slowly_do_not_hold_up_others(
    store: ArtifactStore, runs: dict[str, Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(store, "one")
    may_load, load = threading.Event(), loaded.load

    def slow(*args: Any, **options: Any) -> Any:
        assert may_load.wait(30)
        return load(*args, **options)

    found: list[Any] = []
    with running(store) as client:
        monkeypatch.setattr(loaded, "load", slow)
        url = f"{client.base_url}/v1/users"
        waiting = [
            threading.Thread(
                target=lambda: found.append(httpx.get(url, params={"run": "two"}, timeout=30))
            )
            for _ in range(4)  # more than the threads that compute answers
        ]
        for thread in waiting:
            thread.start()
        time.sleep(0.3)
        assert client.get("/v1/users", timeout=5).json()["run"] == "one"
        assert client.get("/v1/users", params={"run": "no"}, timeout=5).status_code == 404
        may_load.set()
        for thread in waiting:
            thread.join(30)
    assert [(each.status_code, each.json()["run"]) for each in found] == [(200, "two")] * 4


def test_a_run_without_pictures_and_features_takes_those_of_another(store: ArtifactStore) -> None:
    features = ("text_features", "visual_features")
    Maker(store, "b-bare").write("ease", without=("images", "split", *features))
    with running(store) as client:
        assert client.get("/v1/status").json()["modalities"] == ["fused", "purchases"]
        assert client.get("/v1/pictures/A%2F00000").status_code == 404
        found = client.get("/v1/items/A%2F00001/similar?modality=text")
        assert (found.status_code, "no text features" in found.json()["error"]) == (404, True)
        assert client.get("/v1/users/U00001/history").json()["held_out"] == []
    Maker(store, "a-full", seed=1).write()
    Maker(store, "c-other-items", items=29).write()
    with running(store, run="b-bare") as client:
        modalities = client.get("/v1/status").json()["modalities"]
        assert modalities == ["fused", "text", "visual", "purchases"]
        assert client.get("/v1/pictures/A%2F00000").status_code == 200
        assert client.get("/v1/items/A%2F00001/similar?modality=text").json()["items"]


def test_the_watch_outlives_an_error_and_reports_it(
    store: ArtifactStore, runs: dict[str, Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(served, "RETRY_SECONDS", 0.1)
    promote(store, "one")
    with running(store) as client:
        with monkeypatch.context() as broken:
            broken.setattr("brmrs.service.loaded.load", lambda *_, **__: 1 / 0)
            promote(store, "two")
            until(lambda: "division" in client.get("/v1/status").json()["problem"])
            assert client.get("/v1/users/U00001/recommendations").json()["run"] == "one"
        until(lambda: client.get("/v1/status").json()["run"] == "two")
        assert client.get("/v1/status").json()["problem"] == ""


def test_few_runs_are_held_beside_the_served_one(store: ArtifactStore) -> None:
    names = [Maker(store, name, seed=seed).write().name for seed, name in enumerate("abcd")]
    with running(store) as client:
        answers = {
            name: client.get("/v1/users/U00001/recommendations", params={"run": name}).json()
            for name in names * 2
        }
        assert {name: answer["run"] for name, answer in answers.items()} == {n: n for n in names}
    assert len(names) - 1 > limits.OTHERS_LOADED


@contextmanager
def command(store: ArtifactStore, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`brmrs serve` on a free port, and its address."""
    process = subprocess.Popen(
        [*COMMAND, "serve", "--port", "0", "--artifacts", str(store.root), *options],
        env=environment(store.root),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout
        line = process.stdout.readline()
        found = re.search(r"http://\S+", line)
        assert found, line + process.stdout.read()
        until(lambda: _answers(found[0]), 120)
        yield process, found[0]
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        finally:
            process.kill()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def _workers(parent: int) -> set[int]:
    """The worker processes of a supervisor: those that listen, so not the resource tracker."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return {
        int(child)
        for child in children
        if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text(errors="replace")
    }


@pytest.mark.slow
def test_workers_are_killed_and_the_service_restarted_under_load(
    store: ArtifactStore, runs: dict[str, Run], expected: dict[tuple[str, str], Ranking]
) -> None:
    promote(store, "one")
    with command(store, "--workers", "2") as (process, url), Load(url, expected) as load:
        until(lambda: len(_workers(process.pid)) == 2, 120)
        for name in ("two", "one"):
            victim, *_ = sorted(_workers(process.pid))
            os.kill(victim, signal.SIGKILL)
            promote(store, name)
            until(lambda v=victim: len(_workers(process.pid) - {v}) == 2, 120)  # type: ignore[misc]
            before = load.runs[name]
            until(lambda n=name, b=before: load.runs[n] > b + 20, 120)  # type: ignore[misc]
        counted = httpx.get(f"{url}/metrics", timeout=30).text
    assert process.wait(60) == 0
    assert set(load.statuses) == {200}
    assert not load.wrong
    assert load.statuses[200] > 40
    assert 'endpoint="recommendations",status="200"' in counted


@pytest.mark.slow
def test_a_stop_lets_requests_end(
    store: ArtifactStore, runs: dict[str, Run], expected: dict[tuple[str, str], Ranking]
) -> None:
    promote(store, "one")
    with command(store) as (process, url), Load(url, expected) as load:
        until(lambda: load.statuses[200] > 50, 120)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) in (0, -signal.SIGTERM)  # uvicorn ends by the signal it got
    assert set(load.statuses) == {200}
    assert not load.wrong
