"""Errors about a name or path that does not exist suggest the one that was meant."""

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from brmrs.config.load import load
from brmrs.errors import UserError
from brmrs.images.folder import picture_files
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.runs import Run, find, latest, save
from brmrs.suggest import instead, nearest, nearest_field
from flows.cli.app import app


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with shop/brmrs.yaml, shop/orders.csv and artifacts/."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "brmrs.yaml").write_text("name: shop\n")
    (tmp_path / "shop" / "orders.csv").write_text("user,item\nu,i\n")
    (tmp_path / "artifacts").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("shop/brmrs.yml", "shop/brmrs.yaml"),
        ("shop/Brmrs.yaml", "shop/brmrs.yaml"),
        ("shopp/brmrs.yaml", "shop/brmrs.yaml"),
        ("shpo/brmrs.yml", "shop/brmrs.yaml"),
        ("./shop/order.csv", "shop/orders.csv"),
        ("sohp", "shop"),
        ("shop/users.yaml", None),  # all files may have the same extension
        ("shop/orders.csv", None),  # it exists
        ("shop/orders.csv/x", None),  # no folder
        ("shop/" + "x" * 300, None),  # too long for the file system
        ("shop/nu\0l", None),
    ],
)
def test_the_path_that_was_meant(folder: Path, path: str, meant: str | None) -> None:
    expected = f"did you mean {meant}?" if meant else "advice"
    assert instead(Path(path), "advice") == expected
    absolute = f"did you mean {folder / meant}?" if meant else "advice"
    assert instead(folder / path, "advice") == absolute


def test_a_link_to_nothing_is_not_suggested(folder: Path) -> None:
    for name in ("orders_1", "orders_2"):
        os.symlink(folder / "gone", folder / name)
    assert instead(Path("orders_1"), "advice") == "advice"
    assert instead(Path("order_1/x"), "advice") == "advice"


def test_names_in_any_case() -> None:
    assert nearest("baby products", ["Baby", "Baby_Products"]) == ["Baby_Products"]
    assert nearest("x", ["Baby"]) == []


def test_fields_with_the_same_last_part_come_first() -> None:
    known = ["train.seed", "split.seed", "train.seeds"]
    assert nearest_field("splt.seed", known) == ["split.seed", "train.seed"]
    assert nearest_field("sed", known) == ["train.seed", "split.seed"]
    assert nearest_field("other", known) == []


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("configs/sampel.yaml", "configs/sample.yaml"),
        ("shop/brmrs.yml", "shop/brmrs.yaml"),
        ("lightgcn.yaml", "configs/models/lightgcn.yaml"),
    ],
)
def test_a_misspelt_configuration(folder: Path, path: str, meant: str) -> None:
    del folder
    expected = f"{path}: No such file or directory; did you mean {meant}\\?"
    with pytest.raises(UserError, match=expected):
        load(Path(path))


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["init", "shpo"], "shop"),
        (["inspect", "shop/order.csv"], "shop/orders.csv"),
        (["plan", "-c", "shop/brmrs.yaml", "--plugin", "shop/brmrs.py"], "shop/brmrs.yaml"),
        (
            [
                "plan",
                "-c",
                "shop/brmrs.yaml",
                "--set",
                "ingest.metadata=shpo",
                "--set",
                "ingest.reviews=shop/orders.csv",
            ],
            "shop",
        ),
        (
            ["plan", "-c", "shop/brmrs.yaml", "--set", "ingest.reviews=shop/order.csv"],
            "shop/orders",
        ),
        (
            [
                *("plan", "-c", "shop/brmrs.yaml", "--set", "ingest.format=table"),
                *("--set", "ingest.interactions=shop/order.csv", "--set", "model=lightgcn"),
            ],
            "shop/orders.csv",
        ),
        (["run", "-c", "shop/brmrs.yaml", "--json", "shpo/out.json"], "shop"),
        (["run", "-c", "shop/brmrs.yaml", "--until", "trian"], "train"),
        (["show", "lates"], "latest"),
        (["show", "run", "--artifacts", "artifcats"], "artifacts"),
        (["recommend", "--user", "u", "--artifacts", "artifcats"], "artifacts"),
        (["config", "learning_rte"], "train.learning_rate"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_commands_suggest_what_was_meant(folder: Path, arguments: list[str], meant: str) -> None:
    del folder
    done = CliRunner().invoke(app, arguments)
    assert isinstance(done.exception, UserError), done.output
    assert f"did you mean {meant}" in str(done.exception)


def test_a_misspelt_folder_of_pictures(folder: Path) -> None:
    del folder
    with pytest.raises(UserError, match=r"images\.folder: shpo: No such .*; did you mean shop\?"):
        picture_files(Path("shpo"))


def test_misspelt_runs_and_data_sets(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    names = ["20260101-100000-123-abcd", "20260102-110000-456-ef01"]
    config = {"name": "baby", "note": "", "model": {"name": "bm3"}, "train": {"seed": 0}}
    for name in names:
        save(Run(name, config, {}, {}, 1.0, {}), store)
    with pytest.raises(UserError, match=rf"none of that name .*; did you mean {names[1]}\?"):
        find(store, "20260102-110000-456-ef0l")
    with pytest.raises(UserError, match=r"run abc-: none of that name .*; `brmrs runs` lists them"):
        find(store, "abc-")
    with pytest.raises(UserError, match="did you mean served"):
        find(store, "serverd")
    with pytest.raises(UserError, match=r"no finished run of babby .*did you mean baby\?"):
        latest(store, data="babby")
