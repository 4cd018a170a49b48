import json
import logging
import re
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from misbehaving_server import KINDS, STATUSES, Server, config, served  # noqa: F401 - a fixture

from brmrs.columns import IMAGES, ITEMS
from brmrs.config.data import ImagesConfig
from brmrs.config.pipeline import PipelineConfig
from brmrs.images import addresses, fetch
from brmrs.images import stage as images
from brmrs.images.decode import Picture, Status
from brmrs.images.picture_store import PictureStore, stored_files
from brmrs.images.stage import gather
from brmrs.stages import StageContext
from brmrs.store.artifacts import digest_folder

# Of all files that the stage leaves: fixed ones and hashes, whatever ids and addresses are.
NAMES = (
    r"items\.parquet|out/(images\.parquet|(statistics|shared|incomplete)\.json)|"
    r"(out|scratch of out)/files/[0-9a-f]{2}/[0-9a-f]{64}\.(jpg|png|gif|webp|bmp|tiff)|"
    r"scratch of out/fetched/[0-9a-f]{2}/[0-9a-f]{64}\.json|"
    r"kept/public/[0-9a-f]{64}\.[0-9a-f]{64}\.(jpg|png|gif|webp|bmp|tiff)"
)


def context(
    tmp_path: Path, items: list[tuple[str, list[str]]], settings: ImagesConfig, name: str = "out"
) -> StageContext:
    out = tmp_path / name
    out.mkdir()
    rows = [
        {
            "item": row,
            "asin": asin,
            "title": "",
            "description": "",
            "brand": "",
            "categories": [],
            "image_urls": urls,
        }
        for row, (asin, urls) in enumerate(items)
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=ITEMS), tmp_path / "items.parquet")
    return StageContext(
        config=PipelineConfig(images=settings),
        inputs={"ingest/items.parquet": tmp_path / "items.parquet"},
        out=out,
        scratch=tmp_path / f"scratch of {name}",
        stage_cache=tmp_path / "kept",
    )


def test_the_stage(server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    items = [
        ("A", [server.url("numbered/1")]),
        ("B", [server.url("numbered/1?again")]),
        ("C", [server.url("html"), server.url("photo")]),
        ("D", []),
        ("E", [server.url("absent")]),
    ]
    items[1] = ("B", [server.url("redirect-far?" + server.url("numbered/1"))])
    with caplog.at_level(logging.INFO, logger="brmrs.images.stage"):
        images.run(context(tmp_path, items, config()))
    table = pq.read_table(tmp_path / "out" / "images.parquet")
    assert table.schema == IMAGES
    assert table["item"].to_pylist() == [0, 1, 2, 3, 4]
    assert table["status"].to_pylist() == ["ok", "ok", "ok", "missing", "http error"]
    assert table["width"].to_pylist() == [40, 40, 160, None, None]
    hashes = table["sha256"].to_pylist()
    assert hashes[0] == hashes[1] != hashes[2]
    files = stored_files(tmp_path / "out")
    assert set(files) == {hashes[0], hashes[2]}
    for digest, path in files.items():
        assert sha256(path.read_bytes()).hexdigest() == digest
        assert path.relative_to(tmp_path / "out").parts[:2] == ("files", digest[:2])
    counts = json.loads((tmp_path / "out" / "statistics.json").read_text())
    assert {status: n for status, n in counts.items() if n} == {
        "http error": 1,
        "missing": 1,
        "ok": 3,
    }
    assert set(counts) == {str(status) for status in Status}
    assert [record.message for record in caplog.records] == [
        "images: 3 of 5 ok (1 http error, 1 missing)"
    ]


def test_statuses_and_counts_over_all_faults_of_a_server(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if 127.0.0.1 lay in the public internet, and 127.0.0.2 were a machine of the house."""
    monkeypatch.setattr(addresses, "is_public", lambda ip: ip == "127.0.0.1")
    monkeypatch.setattr(fetch, "GIVE_UP_AFTER", 1000)  # all of this is one host
    try:
        house = Server("127.0.0.2")
    except OSError:
        pytest.skip("this system has only one loopback address")
    expected = dict(STATUSES)
    expected |= {f"kind/{n}": status for n, (_, status) in enumerate(KINDS)}
    hours = "busy-for-hours"  # gives a host up, so it is another one
    del expected[hours]
    expected |= {"few-pixels": Status.PLACEHOLDER, "no-img-sm.gif": Status.PLACEHOLDER}
    with house, Server() as slow:
        asked = {server.url(path): status for path, status in expected.items()}
        asked[slow.url(hours)] = STATUSES[hours]
        private = house.url("photo"), server.url(f"redirect-far?{house.url('photo')}")
        asked |= dict.fromkeys(private, Status.REFUSED)
        items = [(f"../../{n}/\x00", [url]) for n, url in enumerate(asked)]
        items.append(("none", []))
        settings = config(allow_private=False, rate=1000, retries=1, timeout=3, per_host=16)
        images.run(context(tmp_path, items, settings))
        assert house.log == []
    statuses = pq.read_table(tmp_path / "out" / "images.parquet")["status"].to_pylist()
    assert statuses == [*map(str, asked.values()), "missing"]
    counts = json.loads((tmp_path / "out" / "statistics.json").read_text())
    assert counts == {str(status): statuses.count(status) for status in Status}
    assert all(counts.values())  # every status occurs
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    names = [path.relative_to(tmp_path).as_posix() for path in files]
    assert [name for name in names if not re.fullmatch(NAMES, name)] == []


def test_two_runs_write_the_same_bytes(server: Server, tmp_path: Path) -> None:
    items = [(str(n), [server.url(f"slow/{n % 5}")]) for n in range(10)]
    images.run(context(tmp_path, items, config(), "one"))
    images.run(context(tmp_path, items, config(), "two"))
    for name in ("images.parquet", "statistics.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_new_dump_fetches_only_new_addresses(server: Server, tmp_path: Path) -> None:
    old = [(str(n), [server.url(f"numbered/{n}")]) for n in range(4)]
    new = [*old[1:], ("8", [server.url("numbered/8")]), ("9", [server.url("absent")])]
    images.run(context(tmp_path, [*old, new[-1]], config(), "old"))
    server.log.clear()
    images.run(context(tmp_path, new, config(), "new"))
    assert sorted(server.log) == ["/absent", "/numbered/8"]  # a failure is asked again
    bare = context(tmp_path, new, config(), "from nothing")
    images.run(replace(bare, stage_cache=None))
    digests = [digest_folder(tmp_path / name, "images") for name in ("new", "from nothing")]
    assert digests[0] == digests[1]


def test_cached_pictures_must_meet_the_current_limits(server: Server, tmp_path: Path) -> None:
    items = [("A", [server.url("photo")])]
    images.run(context(tmp_path, items, config(), "wide"))
    images.run(context(tmp_path, items, config(max_pixels=100), "narrow"))
    images.run(context(tmp_path, items, config(allow_private=False), "public"))
    statuses = [
        pq.read_table(tmp_path / name / "images.parquet")["status"].to_pylist()
        for name in ("wide", "narrow", "public")
    ]
    assert statuses == [["ok"], ["too large"], ["refused"]]
    assert server.log == ["/photo"]


def test_transient_faults_leave_the_artifact_incomplete(server: Server, tmp_path: Path) -> None:
    paths = ("photo", "absent", "hang-up", "broken", "cut")
    items = [(path, [server.url(path)]) for path in paths]
    with Server() as slow:
        items.append(("hours", [slow.url("busy-for-hours")]))
        images.run(context(tmp_path, items, config(retries=0)))
    incomplete = json.loads((tmp_path / "out" / "incomplete.json").read_text())
    assert incomplete == {"busy": 2, "unreachable": 1}


def test_no_item_has_a_picture(tmp_path: Path) -> None:
    images.run(context(tmp_path, [("A", []), ("B", [])], ImagesConfig()))
    table = pq.read_table(tmp_path / "out" / "images.parquet")
    assert table["status"].to_pylist() == ["missing", "missing"]


def test_fetching_can_be_switched_off(server: Server, tmp_path: Path) -> None:
    (found,) = gather(["A"], [(server.url("photo"),)], config(fetch=False), PictureStore(tmp_path))
    assert found == Picture(Status.MISSING)
    assert server.log == []
