"""Which dumps the watcher considers ready."""

import gzip
import os
from pathlib import Path
from typing import Any

import pytest

from brmrs.config.load import load, parse
from brmrs.errors import UserError
from brmrs.serving.current import Verdict, conclude
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.runs import Run
from flows.server.watcher import arrivals

CONTENT = gzip.compress(b'{"reviewerID": "u", "asin": "i", "overall": 5}\n')


@pytest.fixture
def parameters(tmp_path: Path) -> dict[str, Any]:
    """Of a deployment whose folder of reviews and file of metadata are not there yet."""
    places = {"reviews": tmp_path / "monthly", "metadata": tmp_path / "meta.json.gz"}
    config = parse({"ingest": places}, "test")
    (tmp_path / "monthly.yaml").write_text(config.to_yaml())
    return {"config": str(tmp_path / "monthly.yaml"), "artifacts": str(tmp_path / "artifacts")}


def put(path: Path, content: bytes, changed: float = 1_700_000_000) -> None:
    path.write_bytes(content)
    os.utime(path, (changed, changed))


def test_nothing_is_ready_until_reviews_are_there_and_named_files_whole(
    parameters: dict[str, Any], tmp_path: Path
) -> None:
    assert arrivals(parameters) is None
    (tmp_path / "monthly").mkdir()
    put(tmp_path / "monthly" / "1.json.gz", CONTENT)
    assert arrivals(parameters) is None  # the metadata are missing
    put(tmp_path / "meta.json.gz", CONTENT[:-1])
    assert arrivals(parameters) is None
    put(tmp_path / "meta.json.gz", CONTENT, 1_700_000_001)
    found = arrivals(parameters)
    assert found is not None
    assert {field: [path.name for path in files] for field, files in found.files.items()} == {
        "reviews": ["1.json.gz"],
        "metadata": ["meta.json.gz"],
    }


def test_a_place_that_is_gone_after_a_retraining_is_an_error(
    parameters: dict[str, Any], tmp_path: Path
) -> None:
    store = ArtifactStore(tmp_path / "artifacts")
    config = load(Path(parameters["config"]))
    run = Run("run", config.model_dump(mode="json"), {}, {}, 1.0, {})
    conclude(store, run, Verdict(True, "first"), {"reviews": ["ab"], "metadata": []})
    with pytest.raises(UserError, match="monthly: no such file"):
        arrivals(parameters)


def ready(parameters: dict[str, Any], tmp_path: Path) -> dict[str, str]:
    """Name to digest of the reviews, in a folder with one dump."""
    found = arrivals(parameters)
    assert found is not None
    return {path.name: digest for path, digest in found.files["reviews"].items()}


def test_junk_in_the_folder_is_set_aside_and_named(
    parameters: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "monthly").mkdir()
    put(tmp_path / "meta.json.gz", CONTENT)
    put(tmp_path / "monthly" / "1.json.gz", CONTENT)
    before = ready(parameters, tmp_path)
    put(tmp_path / "monthly" / "page.json", b"<html>\n")
    found = arrivals(parameters)
    assert found is not None
    assert [path.name for path in found.set_aside] == ["page.json"]
    assert ready(parameters, tmp_path) == before  # so no run starts for it


def test_a_file_rewritten_in_place_with_its_time_set_back_is_seen(
    parameters: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "monthly").mkdir()
    put(tmp_path / "meta.json.gz", CONTENT)
    plain = tmp_path / "monthly" / "1.json"
    put(plain, gzip.decompress(CONTENT))
    before = ready(parameters, tmp_path)
    with plain.open("r+b") as file:  # the same inode, size and time
        file.write(gzip.decompress(CONTENT).replace(b'"u"', b'"v"'))
    os.utime(plain, (1_700_000_000, 1_700_000_000))
    after = ready(parameters, tmp_path)
    assert list(before) == list(after) == ["1.json"]
    assert before != after
