"""`brmrs doctor -c FILE` finds what a run would fail for, before the run."""

import socket
from pathlib import Path
from typing import Any

import pytest

from brmrs.config.load import parse
from brmrs.config.pipeline import PipelineConfig
from brmrs.errors import UserError
from flows.cli import foresee
from flows.cli.doctor import check

BARE: dict[str, Any] = {"ingest": {"metadata": []}, "images": {"folder": None}}


def changed(config: PipelineConfig, **sections: dict[str, Any]) -> PipelineConfig:
    values = config.model_dump()
    for name, fields in sections.items():
        values[name] = {**values[name], **fields} if name != "model" else fields
    return parse(values, "test")


def finding(name: str, config: PipelineConfig, artifacts: Path = Path("artifacts")) -> str:
    return dict(foresee.looks(config, artifacts))[name]()


def test_a_run_that_lacks_nothing(small_config: PipelineConfig, tmp_path: Path) -> None:
    for name in ("inputs", "model", "visual weights", "room"):
        assert finding(name, small_config, tmp_path)
    assert finding("model", small_config).endswith("the data have texts and pictures")


@pytest.mark.parametrize(
    ("sections", "found"),
    [
        (BARE, "br-mrs needs texts or pictures, and there are none"),
        ({"ingest": {"metadata": []}}, None),  # pictures from the folder
        ({"images": {"folder": None}}, None),  # texts
    ],
)
def test_a_model_that_needs_texts_or_pictures(
    small_config: PipelineConfig, sections: dict[str, Any], found: str | None
) -> None:
    config = changed(small_config, **sections)
    if found is None:
        assert "the data have" in finding("model", config)
        return
    with pytest.raises(UserError, match=found):
        finding("model", config)


def test_columns_of_tables_are_checked_before_the_run(
    small_config: PipelineConfig, tmp_path: Path
) -> None:
    (tmp_path / "orders.csv").write_text("customer,article,when\n1,2,2024-01-01\n")
    tables = {"format": "table", "interactions": [tmp_path / "orders.csv"]}

    def columns(**configured: str) -> str:
        ingest = {**BARE["ingest"], "reviews": [], **tables, "columns": configured}
        return finding("columns", changed(small_config, ingest=ingest))

    assert columns(time="when") == (
        "orders.csv: user = customer (guessed), item = article (guessed), time = when"
    )
    with pytest.raises(UserError, match=r"columns\.item: no column 'sku'.*customer, article, when"):
        columns(item="sku")


def test_a_table_of_interactions_and_items_is_listed_with_the_columns_of_both(
    small_config: PipelineConfig, tmp_path: Path
) -> None:
    (tmp_path / "orders.csv").write_text("customer,article,title\n1,2,Red mug\n")
    both = {name: [tmp_path / "orders.csv"] for name in ("interactions", "items")}
    ingest = {**BARE["ingest"], "reviews": [], "format": "table", **both}
    found = finding("columns", changed(small_config, ingest=ingest))
    assert "user = customer" in found
    assert "title = title" in found


def test_a_model_that_needs_interactions_only(small_config: PipelineConfig) -> None:
    config = changed(small_config, **BARE, model={"name": "lightgcn", "dim": 8})
    assert finding("model", config) == "lightgcn needs interactions only"
    assert finding("visual weights", config) == "not needed"


def test_weights_that_are_not_there(
    small_config: PipelineConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(*_: object) -> None:
        raise OSError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(socket, "create_connection", no_network)
    config = changed(small_config, features={"visual": {"backbone": "resnet18"}})
    with pytest.raises(UserError, match=r"resnet18-.*\.pth is missing, and .* does not answer"):
        finding("visual weights", config)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "resnet18-f37072fd.pth").write_bytes(b"")
    assert finding("visual weights", config) == str(folder / "resnet18-f37072fd.pth")


def test_files_that_are_not_there(small_config: PipelineConfig) -> None:
    config = changed(small_config, ingest={"reviews": ["gone.json"]})
    with pytest.raises(UserError, match=r"gone\.json"):
        finding("inputs", config)


def test_a_disk_without_room(
    small_config: PipelineConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foresee, "BYTES_WANTED", 10**18)
    with pytest.raises(UserError, match="free space"):
        finding("room", small_config, tmp_path / "not" / "there" / "yet")


def test_a_prefect_folder_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "file" / "home"))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    (found,) = [each for each in check(tmp_path) if each.name == "prefect's folder"]
    assert not found.ok
    assert "Not a directory" in found.finding


def test_a_missing_input_is_reported_once(small_config: PipelineConfig, tmp_path: Path) -> None:
    config = changed(small_config, ingest={"reviews": [tmp_path / "gone.json"]})
    found = {each.name: each for each in check(tmp_path, config)}
    assert not found["inputs"].ok
    assert "gone.json: no such file" in found["inputs"].finding
    assert not found["room"].ok
    assert found["room"].finding == "not checked: see inputs"
