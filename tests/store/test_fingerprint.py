import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from brmrs.config.load import parse
from brmrs.config.pipeline import PipelineConfig
from brmrs.errors import UserError
from brmrs.features.catalogue import hub
from brmrs.store.fingerprint import fingerprint

EMPTY = "4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945"  # of "[]"


def configuration(**sections: Any) -> PipelineConfig:
    return parse({"features": {"text": {"model": "a/hub-id"}}, **sections}, "test")


OLD, NEW = "0" * 40, "1" * 40


def cached(cache: Path, commit: str, model: str = "a--hub-id") -> None:
    """A model of the hub in the local cache, as its client lays it out."""
    folder = cache / f"models--{model}"
    (folder / "snapshots" / commit).mkdir(parents=True)
    (folder / "refs").mkdir(exist_ok=True)
    (folder / "refs" / "main").write_text(commit)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SENTENCE_TRANSFORMERS_HOME", str(tmp_path / "cache"))
    cached(tmp_path / "cache", OLD)
    return tmp_path / "cache"


def write(folder: Path, **contents: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in contents.items():
        (folder / name.replace("__", ".")).write_text(content)
    return folder


def reviews(*paths: Path) -> dict[str, Any]:
    config = configuration(ingest={"reviews": [str(path) for path in paths]})
    return fingerprint(config)["reviews"]


def test_the_digest_is_of_the_contents_alone(tmp_path: Path) -> None:
    one = write(tmp_path / "one", a__json="first", b__json="second")
    two = write(tmp_path / "two", x__json__gz="second", y__jsonl="first")
    assert reviews(one)["sha256"] == reviews(two)["sha256"]
    assert reviews(one / "b.json", one / "a.json") == reviews(one)
    assert reviews(one / "a.json")["sha256"] != reviews(one)["sha256"]
    (two / "y.jsonl").write_text("First")
    assert reviews(one)["sha256"] != reviews(two)["sha256"]


def test_the_files_are_listed_with_digest_and_size(tmp_path: Path) -> None:
    folder = write(tmp_path, b__json="b", a__jsonl__zst="", README__txt="x")
    write(folder / "inner.json", c__json="c")
    (folder / ".hidden.json").write_text("x")
    assert reviews(folder)["files"] == [
        {
            "name": "a.jsonl.zst",
            "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "bytes": 0,
        },
        {
            "name": "b.json",
            "sha256": "3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d",
            "bytes": 1,
        },
    ]


def test_a_file_named_twice_counts_once(tmp_path: Path) -> None:
    folder = write(tmp_path / "dump", a__json="a")
    (tmp_path / "link").symlink_to(folder)
    assert reviews(folder, folder / "a.json", tmp_path / "link") == reviews(folder)


def test_names_of_pictures_count(tmp_path: Path) -> None:
    dump = write(tmp_path / "dump", a__json="a")

    def pictures(folder: Path | None) -> str:
        images = {} if folder is None else {"folder": str(folder)}
        config = configuration(ingest={"reviews": str(dump)}, images=images)
        digest: str = fingerprint(config)["image_folder"]["sha256"]
        return digest

    one = write(tmp_path / "one", A__jpg="x", B__jpg="y")
    two = write(tmp_path / "two", A__jpg="y", B__jpg="x")
    three = write(tmp_path / "three", B__jpg="y", A__jpg="x")
    assert pictures(one) == pictures(three) != pictures(two)
    assert pictures(None) == EMPTY


def test_the_models_of_features(tmp_path: Path) -> None:
    dump = write(tmp_path / "dump", a__json="a")
    model = write(tmp_path / "model", weights="w")
    write(model / "1_Pooling", config__json="{}")
    (model / ".git").mkdir()
    (model / ".git" / "x").touch()
    features = {
        "text": {"model": str(model)},
        "visual": {"weights_path": str(model / "weights")},
    }
    entries = fingerprint(configuration(ingest={"reviews": str(dump)}, features=features))
    names = [file["name"] for file in entries["text_model"]["files"]]
    assert names == ["1_Pooling/config.json", "weights"]
    assert [file["name"] for file in entries["visual_weights"]["files"]] == ["weights"]
    of_hub = fingerprint(configuration(ingest={"reviews": str(dump)}))
    assert of_hub["text_model"]["files"] == []
    assert of_hub["text_model"]["sha256"] != entries["text_model"]["sha256"]
    assert of_hub["visual_weights"]["sha256"] == of_hub["metadata"]["sha256"] == EMPTY
    json.dumps(of_hub)


def test_a_model_of_the_hub_counts_by_its_revision(cache: Path) -> None:
    names = ["text_model", "visual_weights"]
    both = configuration(
        features={"text": {"model": "a/hub-id"}, "visual": {"backbone": "a/hub-id"}}
    )
    before, again = fingerprint(both, names), fingerprint(both, names)
    assert before == again
    cached(cache, NEW)  # its owner changed it, and it was fetched again
    after = fingerprint(both, names)
    assert before["text_model"] == before["visual_weights"]
    assert after["text_model"] == after["visual_weights"]
    assert before["text_model"]["sha256"] != after["text_model"]["sha256"]


def test_a_model_without_an_organisation_is_one_of_sentence_transformers(cache: Path) -> None:
    cached(cache, NEW, "sentence-transformers--all-mpnet-base-v2")
    assert hub.revision("all-mpnet-base-v2", "x") == NEW


@pytest.mark.parametrize("damage", ["no snapshot", "no commit", "no text"])
def test_a_model_that_is_not_to_be_had_is_an_error_before_anything_runs(
    damage: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)  # as without a network
    if damage == "no snapshot":
        (cache / "models--a--hub-id" / "snapshots" / OLD).rmdir()
    else:
        ref = cache / "models--a--hub-id" / "refs" / "main"
        ref.write_bytes(b"\xff" if damage == "no text" else b"../../x")
    with pytest.raises(UserError, match=r"features\.text\.model: a/hub-id is not in the hub"):
        fingerprint(configuration(), ["text_model"])


def test_the_packaged_model_is_digested(tmp_path: Path) -> None:
    dump = write(tmp_path / "dump", a__json="a")
    entry = fingerprint(parse({"ingest": {"reviews": str(dump)}}, "test"))["text_model"]
    digests = {file["name"]: file["sha256"] for file in entry["files"]}
    assert digests["model.safetensors"].startswith("53aa51172d142c89")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, r"no review dump is configured; set ingest\.reviews=PATH"),
        ({"ingest": {"reviews": "absent.json"}}, r"ingest\.reviews: absent\.json: no such file"),
        ({"ingest": {"reviews": "empty"}}, r"ingest\.reviews: empty: the folder holds no dump"),
        (
            {"ingest": {"reviews": "a.json", "metadata": ["a.json", "no"]}},
            r"ingest\.metadata: no: no such file",
        ),
        (
            {"ingest": {"reviews": "a.json"}, "images": {"folder": "no"}},
            r"images\.folder: no: No such file",
        ),
        (
            {"ingest": {"reviews": "a.json"}, "images": {"folder": "a.json"}},
            r"images\.folder: a\.json: Not a directory",
        ),
        (
            {"ingest": {"reviews": "a.json"}, "features": {"text": {"model": "./no"}}},
            r"features\.text\.model: './no' is not a folder",
        ),
        (
            {
                "ingest": {"reviews": "a.json"},
                "features": {"visual": {"weights_path": "no.pt"}},
            },
            r"no\.pt: no such file",
        ),
    ],
)
def test_what_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: dict[str, Any], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=message):
        fingerprint(parse(values, "test"))


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys, brmrs.store.fingerprint\n"
        "print([name for name in ('torch', 'polars', 'scipy') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert out.stdout == "[]\n"
