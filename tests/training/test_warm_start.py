"""Starting from an earlier bundle."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from board_artifacts import config, content, context, write_inputs

from brmrs.config.load import parse
from brmrs.config.models import names as model_names
from brmrs.config.pipeline import PipelineConfig
from brmrs.errors import UserError
from brmrs.graphs.sparse import SparseMatrix
from brmrs.graphs.user_items import UserItems
from brmrs.models import bundle
from brmrs.models.base import TrainingData
from brmrs.models.bpr_mf import BPRMF
from brmrs.models.bundle import Bundle, Description
from brmrs.models.registry import load
from brmrs.stages import BY_NAME, Stage
from brmrs.store import keys
from brmrs.store.fingerprint import fingerprint
from brmrs.training.stage import run
from brmrs.training.warm_start import start_from

pytestmark = pytest.mark.usefixtures("one_thread")


def bpr_mf(users: int, items: int, seed: int, dim: int = 4) -> BPRMF:
    nothing = torch.zeros(0, dtype=torch.int64)
    empty = SparseMatrix.from_edges(nothing, nothing, torch.zeros(0), (users, items))
    data = TrainingData(users, items, nothing, nothing, empty)
    return BPRMF(data, BPRMF.Config(dim=dim, regularization=0.0), seed=seed)


Pairs = Sequence[tuple[int, int]]


def pairs(found: Pairs, users: int, items: int) -> UserItems:
    ids = torch.tensor(found, dtype=torch.int64).reshape(-1, 2)
    return UserItems.from_pairs(ids[:, 0], ids[:, 1], users, items)


def bundled(model: BPRMF, users: list[str], items: list[str], trained_on: Pairs = ()) -> Bundle:
    about = Description(
        model={"name": "bpr-mf"},
        train={},
        best_epoch=1,
        validation={},
        features={},
        users=tuple(users),
        items=tuple(items),
        tensors_sha256="ab" * 32,
    )
    seen = pairs(trained_on, len(users), len(items))
    return Bundle(about, model.branches(), seen, model.state_dict())


def test_rows_follow_their_ids_and_new_ones_start_as_usual() -> None:
    old = bundled(bpr_mf(3, 2, seed=0), ["ann", "bob", "gone"], ["a", "c"])
    model, usual = bpr_mf(4, 3, seed=9), bpr_mf(4, 3, seed=9)
    ids = ["abe", "ann", "bob", "zoe"], ["a", "b", "c"]
    warm = start_from(old, "bpr-mf", model, *ids, pairs([], 4, 3))
    assert (warm.users, warm.items, warm.tables) == (2, 2, ("p", "q"))
    assert warm.tensors_sha256 == old.about.tensors_sha256
    expected_p = [usual.p[0], old.state["p"][0], old.state["p"][1], usual.p[3]]
    expected_q = [old.state["q"][0], usual.q[1], old.state["q"][1]]
    assert torch.equal(model.p, torch.stack(expected_p))
    assert torch.equal(model.q, torch.stack(expected_q))
    assert not torch.equal(model.p, usual.p)


def test_another_recommender_or_another_length_is_refused() -> None:
    ids = ["ann", "bob"], ["a", "b"]
    old = bundled(bpr_mf(2, 2, seed=0), *ids)
    with pytest.raises(UserError, match="holds bpr-mf, the model is lightgcn"):
        start_from(old, "lightgcn", bpr_mf(2, 2, seed=1), *ids, pairs([], 2, 2))
    with pytest.raises(UserError, match="length 4, the model's 8"):
        start_from(old, "bpr-mf", bpr_mf(2, 2, seed=1, dim=8), *ids, pairs([], 2, 2))


def test_a_bundle_that_was_trained_on_what_validates_is_refused() -> None:
    """As after another random split."""
    names = [f"u{user:02}" for user in range(20)], ["a", "b"]
    shifted = [f"u{user:02}" for user in range(1, 21)], ["b", "c"]
    old = bundled(bpr_mf(20, 2, seed=0), *names, trained_on=[(5, 1), (6, 1), (7, 0)])
    two = pairs([(user, 0) for user in range(20)], 20, 2)  # everybody's b; u05 and u06 trained on
    warm = start_from(old, "bpr-mf", bpr_mf(20, 2, seed=1), *shifted, two)
    assert warm.validation_trained_on == 2
    few = pairs([(user, 0) for user in range(10)], 20, 2)
    with pytest.raises(UserError, match="trained on 2 of the 10 validation"):
        start_from(old, "bpr-mf", bpr_mf(20, 2, seed=1), *shifted, few)


@pytest.mark.parametrize("name", model_names())
def test_every_recommender_declares_its_tables(tmp_path: Path, name: str) -> None:
    """On the board nothing else has 40 or 30 rows."""
    state = bundle.load(stage(tmp_path, config(name, epochs=1))).state
    for declared, rows in ((load(name).user_tables, 40), (load(name).item_tables, 30)):
        tables = {table for table, values in state.items() if len(values) == rows}
        assert tables == state.keys() & set(declared)


def stage(root: Path, settings: PipelineConfig) -> Path:
    ready = context(write_inputs(root), root, settings)
    run(ready)
    return ready.out


def test_training_goes_on_where_the_bundle_stands(tmp_path: Path) -> None:
    cold = config(epochs=20)
    first = stage(tmp_path / "first", cold)
    warm = cold.model_copy(
        update={"train": cold.train.model_copy(update={"warm_start": first, "epochs": 1})}
    )
    one = cold.model_copy(update={"train": cold.train.model_copy(update={"epochs": 1})})
    values = [
        bundle.load(stage(tmp_path / name, settings)).about.validation["recall@2"]
        for name, settings in (("warm", warm), ("one", one))
    ]
    assert values[0] > values[1] + 0.2
    told = bundle.load(tmp_path / "warm" / "out").about.warm_start
    assert told is not None
    assert (told.users, told.items, told.tables) == (40, 30, ("p", "q"))
    assert told.validation_trained_on == 0
    moved = tmp_path / "elsewhere"
    first.rename(moved)
    again = warm.model_copy(update={"train": warm.train.model_copy(update={"warm_start": moved})})
    assert content(stage(tmp_path / "again", again)) == content(tmp_path / "warm" / "out")


def test_the_bytes_of_the_bundle_are_in_the_key_and_their_place_is_not(tmp_path: Path) -> None:
    def key(folder: Path | None) -> str:
        settings = parse({"train": {"warm_start": folder}}, "test")
        prints = fingerprint(settings, ("warm_start",))
        only_external = Stage(
            "train", "brmrs.training.stage", config=("train",), external=("warm_start",)
        )
        return keys.key(only_external, keys.parts(only_external, settings, prints, {}))

    def folder(name: str, text: str) -> Path:
        (tmp_path / name).mkdir()
        (tmp_path / name / "bundle.json").write_text(text)
        return tmp_path / name

    one, same, other = folder("one", "a"), folder("same", "a"), folder("other", "b")
    assert key(one) == key(same)
    assert len({key(None), key(one), key(other)}) == 3
    with pytest.raises(UserError, match=r"train\.warm_start"):
        key(tmp_path / "gone")
    assert "warm_start" in BY_NAME["train"].external
