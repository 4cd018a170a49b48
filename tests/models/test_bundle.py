import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_bundle import make

from brmrs.errors import UserError
from brmrs.models import bundle
from brmrs.system.files import digest_file


def test_round_trip(tmp_path: Path) -> None:
    made = make()
    made.save(tmp_path)
    loaded = bundle.load(tmp_path)
    digest = digest_file(tmp_path / "model.safetensors")
    scorers = {"fused": "inner-product", "text": "inner-product"}
    facts = {"tensors_sha256": digest, "scorers": scorers}
    assert loaded.about == made.about.model_copy(update=facts)
    assert list(loaded.branches) == ["fused", "text"]
    for name, branch in made.branches.items():
        assert type(loaded.branches[name]) is type(branch)
        assert vars(loaded.branches[name]).keys() == vars(branch).keys()
        for field, tensor in vars(branch).items():
            assert torch.equal(vars(loaded.branches[name])[field], tensor)
    assert set(loaded.state) == {"p", "net.weight"}
    assert loaded.seen.counts.tolist() == [2, 0, 1]
    assert loaded.seen.items.tolist() == [1, 3, 0]
    assert (loaded.user_index["c/é"], loaded.item_index["B3"]) == (2, 2)
    assert loaded.fused is loaded.branches["fused"]


@pytest.mark.parametrize("name", ["../../x", "/etc/x", "", ".hidden"])
def test_a_branch_whose_name_is_a_path_is_refused(name: str, tmp_path: Path) -> None:
    """`brmrs export --to vectors` would write its vectors outside the folder."""
    made = make()
    branches = {**made.branches, name: made.branches["text"]}
    replace(made, branches=branches).save(tmp_path)
    with pytest.raises(UserError, match="not a model bundle: scorers"):
        bundle.load(tmp_path)


def test_equal_bundles_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        make().save(tmp_path / name)
    for file in ("model.safetensors", "bundle.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert (tmp_path / "a" / "bundle.json").read_bytes().endswith(b"}\n")


def edit(folder: Path, **changes: Any) -> None:
    """Change fields of bundle.json; None removes one."""
    path = folder / "bundle.json"
    values = json.loads(path.read_text()) | changes
    kept = {name: value for name, value in values.items() if value is not None}
    path.write_text(json.dumps(kept))


BAD_DESCRIPTIONS: dict[str, dict[str, Any]] = {
    "format other": {"format": "other"},
    "format brmrs-bundle 1": {"version": 1},
    "users: Field required": {"users": None},
    "surprise: Extra inputs": {"surprise": 1},
    "best_epoch: Input should be a valid integer": {"best_epoch": "many"},
    "seen.indptr of 3 users": {"users": ["ann"]},
    "an index is not one of 1": {"items": ["B1"]},
    "branch fused is not of": {"items": ["B1", "B2", "B3", "B4", "B5"]},
    "branch text ranks by magic": {"scorers": {"fused": "inner-product", "text": "magic"}},
    "not the file that bundle.json describes": {"tensors_sha256": "0" * 64},
}


@pytest.mark.parametrize("message", BAD_DESCRIPTIONS)
def test_a_bad_description_is_named(message: str, tmp_path: Path) -> None:
    make().save(tmp_path)
    edit(tmp_path, **BAD_DESCRIPTIONS[message])
    with pytest.raises(UserError, match=message):
        bundle.load(tmp_path)


@pytest.mark.parametrize("kind", ["users", "items"])
def test_ids_in_another_order_answer_for_nobody(kind: str, tmp_path: Path) -> None:
    make().save(tmp_path)
    ids = json.loads((tmp_path / "bundle.json").read_text())[kind]
    edit(tmp_path, **{kind: ids[::-1]})
    with pytest.raises(UserError, match="not in the order of the users and items"):
        bundle.load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"null"])
def test_what_is_no_description(content: bytes, tmp_path: Path) -> None:
    make().save(tmp_path)
    (tmp_path / "bundle.json").write_bytes(content)
    with pytest.raises(UserError, match=r"bundle\.json: not a model bundle"):
        bundle.load(tmp_path)


@pytest.mark.parametrize("file", ["bundle.json", "model.safetensors"])
def test_a_missing_file_is_named(file: str, tmp_path: Path) -> None:
    make().save(tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(UserError, match=file):
        bundle.load(tmp_path)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("file", ["bundle.json", "model.safetensors"])
def test_a_pipe_in_place_of_a_file_is_named(file: str, tmp_path: Path) -> None:
    make().save(tmp_path)
    (tmp_path / file).unlink()
    os.mkfifo(tmp_path / file)
    with pytest.raises(UserError, match=rf"{file}.*no regular file"):
        bundle.load(tmp_path)


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    make().save(tmp_path)
    path = tmp_path / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"model\.safetensors: not the file"):
        bundle.load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not tensors at all", b"\xff" * 64])
def test_what_is_no_tensor_file(content: bytes, tmp_path: Path) -> None:
    make().save(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    edit(tmp_path, tensors_sha256=digest_file(path))
    with pytest.raises(UserError, match=r"model\.safetensors: cannot be read"):
        bundle.load(tmp_path)


@pytest.mark.parametrize("name", ["fused.p", "fused.q", "text.q", "seen.indptr", "seen.items"])
def test_a_missing_tensor_is_named(name: str, tmp_path: Path) -> None:
    make().save(tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    del tensors[name]
    save_file(tensors, path)
    edit(tmp_path, tensors_sha256=digest_file(path))
    with pytest.raises(UserError, match=name.partition(".")[0]):
        bundle.load(tmp_path)
