"""A store that was copied from anywhere: links, pipes, forged names, damaged tables, bad models."""

import asyncio
import json
import os
import resource
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from rewritten import rewrite
from served_store import Maker, running
from starlette.types import Message

from brmrs.columns import SHA256, TITLE
from brmrs.errors import UserError
from brmrs.models.base import Branch
from brmrs.service import alike, limits, pictures
from brmrs.service.problem import Problem
from brmrs.service.served import Choice, ServedRuns
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.runs import Run

PICTURE = "/v1/pictures/A%2F00000"


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts")


def file_of_picture(store: ArtifactStore, run: Run) -> Path:
    table = pq.read_table(store.path(run.artifact("images"), "images/images.parquet"))
    digest = table[SHA256][0].as_py()
    (found,) = store.path(run.artifact("images")).glob(f"files/*/{digest}.*")
    return found


def to_secret(path: Path) -> None:
    secret = path.parents[6] / "secret"
    secret.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(secret)


def to_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def to_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def to_page(path: Path) -> None:
    path.write_bytes(b"<html><script>alert(1)</script>")


def to_other_picture(path: Path) -> None:
    path.write_bytes(b"\x89PNG\r\n\x1a\n and other bytes")


def to_nothing(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    "change", [to_secret, to_pipe, to_folder, to_page, to_other_picture, to_nothing]
)
def test_a_picture_that_is_not_the_recorded_file_is_not_sent(
    store: ArtifactStore, change: Callable[[Path], None]
) -> None:
    run = Maker(store, "made").write()
    with running(store) as client:
        assert client.get(PICTURE).status_code == 200
        change(file_of_picture(store, run))
        found = client.get(PICTURE, timeout=5)
        assert found.status_code == 404
        assert "missing or damaged" in found.json()["error"]


def test_a_large_picture_is_not_read(store: ArtifactStore, monkeypatch: pytest.MonkeyPatch) -> None:
    Maker(store, "made").write()
    monkeypatch.setattr(pictures, "MOST_PICTURE", 10)
    assert limits.MOST_PICTURE > 2**20
    with running(store) as client:
        assert client.get(PICTURE).status_code == 404


def test_a_picture_is_sent_in_chunks_from_a_file_that_is_closed_afterwards(tmp_path: Path) -> None:
    data = bytes(range(256)) * 1000
    (tmp_path / "picture").write_bytes(data)
    file = FileIO(tmp_path / "picture")
    answer = pictures.PictureAnswer(pictures.Picture(file, len(data), "image/bmp"), {})
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(answer({"type": "http"}, None, send))  # type: ignore[arg-type]
    bodies = [message["body"] for message in sent[1:]]
    assert b"".join(bodies) == data
    assert max(map(len, bodies)) == pictures.CHUNK
    assert [message.get("more_body", False) for message in sent[1:]] == [True] * 4 + [False]
    assert (b"content-length", b"256000") in sent[0]["headers"]
    assert file.closed


def replace_column(path: Path, name: str, values: list[object]) -> None:
    table = pq.read_table(path)
    place = table.schema.get_field_index(name)
    field = table.schema.field(place)
    column = pa.array(values, field.type)
    pq.write_table(table.set_column(place, field, column), path)


def test_forged_digests_of_pictures_name_no_other_file(store: ArtifactStore) -> None:
    run = Maker(store, "made").write()
    forged = [
        "../../../../current",
        "a" * 63,
        "A" * 64,
        "/etc/passwd",
        "",
        "a" * 64,
        "\n" + "a" * 63,
    ]

    def forge(out: Path) -> None:
        path = out / "images.parquet"
        replace_column(path, SHA256, [*forged, *[None] * (30 - len(forged))])

    rewrite(run, store, "images", forge)
    with running(store) as client:
        for item in range(len(forged)):
            assert client.get(f"/v1/pictures/A%2F{item:05d}").status_code == 404


def many_items(out: Path) -> None:
    pq.write_table(pq.read_table(out / "items.parquet")[:10], out / "items.parquet")


def no_table(out: Path) -> None:
    (out / "items.parquet").write_bytes(b"no Parquet")


def no_column(out: Path) -> None:
    table = pq.read_table(out / "items.parquet")
    pq.write_table(table.drop_columns([TITLE]), out / "items.parquet")


def numbers_as_titles(out: Path) -> None:
    table = pq.read_table(out / "items.parquet")
    place = table.schema.get_field_index(TITLE)
    pq.write_table(
        table.set_column(place, TITLE, pa.array(range(len(table)))), out / "items.parquet"
    )


@pytest.mark.parametrize("change", [many_items, no_table, no_column, numbers_as_titles])
def test_items_that_do_not_fit_the_model_are_a_clear_line(
    store: ArtifactStore, change: Callable[[Path], None]
) -> None:
    rewrite(Maker(store, "made").write(), store, "ingest", change)
    with pytest.raises(UserError, match=r"items\.parquet"):
        ServedRuns(Choice(store)).load()


def foreign_users(out: Path) -> None:
    path = out / "interactions.parquet"
    table = pq.read_table(path)
    users = table["user"].to_numpy().copy()
    users[0] = 4_000
    replace_column(path, "user", users.tolist())


def test_interactions_that_do_not_fit_the_model_are_a_clear_line(store: ArtifactStore) -> None:
    rewrite(Maker(store, "made").write(), store, "split", foreign_users)
    with pytest.raises(UserError, match=r"interactions\.parquet"):
        ServedRuns(Choice(store)).load()


def texts_as_items(out: Path) -> None:
    table = pq.read_table(out / "interactions.parquet")
    place = table.schema.get_field_index("item")
    column = pa.array(["x"] * len(table))
    pq.write_table(table.set_column(place, "item", column), out / "interactions.parquet")


def test_interactions_of_other_types_are_a_clear_line(store: ArtifactStore) -> None:
    rewrite(Maker(store, "made").write(), store, "split", texts_as_items)
    with pytest.raises(UserError, match=r"interactions\.parquet.*column item is of string"):
        ServedRuns(Choice(store)).load()


def no_vectors(path: Path) -> None:
    path.write_bytes(b"no Parquet")


@pytest.mark.parametrize("change", [no_vectors, to_nothing])
def test_features_that_cannot_be_read_are_no_internal_error(
    store: ArtifactStore, change: Callable[[Path], None]
) -> None:
    run = Maker(store, "made").write()
    (path,) = store.path(run.artifact("text_features")).rglob("features.parquet")
    with running(store) as client:
        change(path)
        found = client.get("/v1/items/A%2F00000/similar", params={"modality": "text"})
        assert found.status_code == 503
        assert "missing or damaged" in found.json()["error"]


def test_features_too_large_for_memory_are_not_read(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    Maker(store, "made").write()
    monkeypatch.setattr(alike, "MOST_FEATURES", 100)
    with running(store) as client:
        found = client.get("/v1/items/A%2F00000/similar", params={"modality": "text"})
        assert (found.status_code, "too large" in found.json()["error"]) == (404, True)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_model_that_diverged_is_not_served(store: ArtifactStore, value: float) -> None:
    q = torch.ones(30, 4)
    q[3, 2] = value
    Maker(store, "made", fused=Branch(torch.ones(40, 4), q)).write()
    with pytest.raises(UserError, match="diverged"):
        ServedRuns(Choice(store)).load()


def test_scores_that_overflow_are_no_internal_error(store: ArtifactStore) -> None:
    large = torch.full((30, 4), 3e38)
    Maker(store, "made", fused=Branch(torch.full((40, 4), 3e38), large)).write()
    with pytest.raises(UserError, match="NaN or infinite"):
        ServedRuns(Choice(store)).load()


def test_a_user_whose_scores_overflow_gets_a_clear_line(store: ArtifactStore) -> None:
    p = torch.ones(40, 4)
    p[7] = 3e38
    Maker(store, "made", fused=Branch(p, torch.full((30, 4), 10.0))).write()
    with running(store) as client:
        assert client.get("/v1/users/U00006/recommendations").status_code == 200
        found = client.get("/v1/users/U00007/recommendations")
        assert (found.status_code, "NaN or infinite" in found.json()["error"]) == (503, True)


def test_damaged_manifests_of_other_runs_are_left_out(store: ArtifactStore) -> None:
    Maker(store, "made").write()
    (store.root / "runs" / "a.json").write_text("{")
    (store.root / "runs" / "b.json").write_text(json.dumps({"name": "../../x"}))
    os.mkfifo(store.root / "runs" / "c.json")
    with running(store, run="made") as client:
        assert client.get("/v1/status").json()["other_runs"] == []
        assert client.get("/v1/status", params={"run": "a"}).status_code == 404


@pytest.fixture
def with_odd_titles(store: ArtifactStore) -> Iterator[httpx.Client]:
    def change(out: Path) -> None:
        odd = ["\x00", "\x1b[31mred", "a" * 100_000, "\U000e0041", '"}{', "</script>"]
        replace_column(out / "items.parquet", TITLE, [*odd, *["x"] * (30 - len(odd))])

    rewrite(Maker(store, "made").write(), store, "ingest", change)
    with running(store) as client:
        yield client


def test_titles_are_given_as_they_are_in_valid_json(with_odd_titles: httpx.Client) -> None:
    found = with_odd_titles.get("/v1/search", params={"q": "A/0000", "limit": 6})
    assert found.headers["content-type"] == "application/json"
    titles = [row["title"] for row in found.json()["items"]]
    assert titles[:2] == ["\x00", "\x1b[31mred"]
    assert len(titles[2]) == 100_000
    assert np.isin(["</script>", '"}{'], titles).all()


def test_the_limit_of_open_files_is_no_missing_picture(tmp_path: Path) -> None:
    """The service can answer again later, so the answer is 503, not 404."""
    path = tmp_path / "picture"
    path.write_bytes(b"\xff\xd8\xff")
    limits_before = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened: list[int] = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits_before[1]))
        with pytest.raises(OSError, match="Too many open files"):
            while True:
                opened.append(os.open(path, os.O_RDONLY))
        with pytest.raises(Problem) as caught:
            pictures._opened(path)
    finally:
        for each in opened:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits_before)
    assert caught.value.status == 503
    found = pictures._opened(path)
    assert found is not None
    found.close()
