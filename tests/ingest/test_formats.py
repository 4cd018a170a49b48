"""Dump formats: found by name, by what the files hold, and in a plug-in file."""

import re
from pathlib import Path

import pytest
from benchmark_layout import write_layout

from brmrs.config.data import IngestConfig
from brmrs.config.load import parse
from brmrs.config.pipeline import PipelineConfig
from brmrs.errors import UserError
from brmrs.ingest import formats
from brmrs.ingest.stage import ingest
from brmrs.propose.inspect import inspect
from brmrs.stages import BY_NAME
from brmrs.store import keys
from brmrs.store.fingerprint import fingerprint

PAGE = Path(__file__).parents[2] / "docs" / "ingest.md"
REVIEW = '{"user_id": "u", "parent_asin": "i", "rating": 5}\n'


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """The format of docs/ingest.md, under a module name of its own for each test."""
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    path = tmp_path / f"likes_{abs(hash(str(tmp_path)))}.py"
    path.write_text(block)
    return path


@pytest.fixture
def likes(tmp_path: Path) -> Path:
    path = tmp_path / "mine.likes"
    path.write_text("".join(f"u{user} red-mug-{item}\n" for user in (1, 2) for item in (3, 4)))
    return path


def configuration(plugin: Path, likes: Path) -> PipelineConfig:
    section = {"format": "likes", "path": likes, "k": 2}
    return parse({"plugins": [plugin], "ingest": section}, "test")


def test_the_format_of_the_page_is_read(plugin: Path, likes: Path) -> None:
    found = ingest(configuration(plugin, likes).ingest, [plugin])
    assert (found.user_ids, found.asins) == (["u1", "u2"], ["red-mug-3", "red-mug-4"])
    assert [item.title for item in found.items] == ["red mug 3", "red mug 4"]
    assert found.statistics["ratings"] == {}
    assert found.statistics["time"]["unknown"] == 4


def test_inspect_recognises_the_files_of_a_plug_in(plugin: Path, likes: Path) -> None:
    assert inspect([likes], [plugin])["interactions"] == 4


def test_files_and_code_of_the_format_enter_the_key(plugin: Path, likes: Path) -> None:
    config = configuration(plugin, likes)
    files = fingerprint(config, ("reviews", "metadata", "path"))["path"]["files"]
    assert [file["name"] for file in files] == ["mine.likes"]
    code = keys.fixed_parts(BY_NAME["ingest"], config)["code"]
    assert plugin.stem in code
    assert "brmrs.ingest.amazon.metadata" not in code
    raw = keys.fixed_parts(BY_NAME["ingest"], PipelineConfig())["code"]
    assert {"brmrs.ingest.amazon.encode_ids", "brmrs.ingest.amazon.metadata"} <= raw.keys()


def test_a_format_that_nobody_registers_is_named() -> None:
    expected = r"ingest\.format: no dump format 'amazn'; did you mean amazon"
    with pytest.raises(UserError, match=expected):
        formats.get("amazn")


def test_files_are_recognised_by_content(tmp_path: Path) -> None:
    layout = write_layout(tmp_path / "tiny")
    assert formats.sniff([layout]) == IngestConfig(format="ready-made", path=layout)
    reviews, metadata = tmp_path / "a.json", tmp_path / "b.json"
    reviews.write_text(REVIEW)
    metadata.write_text('{"asin": "i"}\n')
    expected = IngestConfig(reviews=(reviews,), metadata=(metadata,))
    assert formats.sniff([metadata, reviews]) == expected


def test_a_folder_of_reviews_and_metadata_is_read_as_both(tmp_path: Path) -> None:
    (tmp_path / "Toys.jsonl").write_text(REVIEW)
    (tmp_path / "meta_Toys.jsonl").write_text('{"parent_asin": "i", "title": "T"}\n')
    for metadata in ((), (tmp_path,)):
        found = ingest(IngestConfig(reviews=(tmp_path,), metadata=metadata, k=0))
        assert (found.asins, found.items[0].title) == (["i"], "T")
        assert found.statistics["metadata"]["files"] == 1
    (tmp_path / "Toys.jsonl").unlink()
    with pytest.raises(UserError, match="only metadata, no reviews"):
        ingest(IngestConfig(reviews=(tmp_path,)))


def test_metadata_of_other_items_are_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.json").write_text(REVIEW)
    (tmp_path / "b.json").write_text('{"asin": "I", "title": "T"}\n')
    ingest(IngestConfig(reviews=(tmp_path / "a.json",), metadata=(tmp_path / "b.json",), k=0))
    assert "describe 0 of 1 items; ids without metadata: i; ids in the metadata: I" in caplog.text
