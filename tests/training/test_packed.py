"""Values whose tensors several processes read from one copy."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from brmrs.graphs import bipartite
from brmrs.graphs.user_items import UserItems
from brmrs.models.base import TrainingData
from brmrs.training.learn import Inputs
from brmrs.training.packed import Packed, TensorFile, pack, unpack


def inputs() -> Inputs:
    users, items = torch.tensor([0, 0, 1, 2]), torch.tensor([0, 2, 1, 2])
    train = UserItems.from_pairs(users, items, 3, 3)
    graph = bipartite.normalised(train.users, train.items, 3, 3)
    features = {"text": torch.arange(12.0).reshape(3, 4)}
    present = {"text": torch.tensor([True, False, True])}
    data = TrainingData(3, 3, train.users, train.items, graph, features=features, present=present)
    empty = UserItems.from_pairs(users[:0], items[:0], 3, 3)
    return Inputs(train, empty, data)


def read_only(value: Any) -> Any:
    """As from a cluster: the arrays of its memory cannot be written to."""
    packed = pack(value)
    for array in packed.arrays:
        array.flags.writeable = False
    return unpack(Packed(packed.rest, packed.arrays))


def from_file(value: Any, folder: Path) -> Any:
    file = TensorFile.write(folder / "inputs", value)
    found = file.load()
    file.discard()
    assert not file.path.exists()
    return found


@pytest.mark.filterwarnings("error:The given NumPy array")
@pytest.mark.parametrize("how", ["read-only", "file"])
def test_inputs_come_back(how: str, tmp_path: Path) -> None:
    given = inputs()
    found = read_only(given) if how == "read-only" else from_file(given, tmp_path)
    assert torch.equal(found.train.items, given.train.items)
    assert torch.equal(found.train.counts, given.train.counts)
    assert len(found.validation.items) == 0
    assert torch.equal(found.data.user_item.csr.to_dense(), given.data.user_item.csr.to_dense())
    back = found.data.user_item.transposed.to_dense()
    assert torch.equal(back, given.data.user_item.transposed.to_dense())
    assert torch.equal(found.data.features["text"], given.data.features["text"])
    assert torch.equal(found.data.present["text"], given.data.present["text"])
    x = torch.randn(3, 2)
    assert torch.equal(found.data.user_item @ x, given.data.user_item @ x)


def test_a_tensor_that_occurs_twice_is_kept_once() -> None:
    given = inputs()
    assert given.data.train_users is given.train.users
    found = unpack(pack(given))
    assert found.data.train_users is found.train.users or (
        found.data.train_users.data_ptr() == found.train.users.data_ptr()
    )
    sizes = [len(array) for array in pack([given.train.users, given.data.train_users]).arrays]
    assert sizes == [given.train.users.nbytes]


@pytest.mark.parametrize(
    "tensor",
    [
        torch.tensor(3.5),
        torch.zeros(0, 7),
        torch.randn(5, 3).T,
        torch.randn(4).to(torch.bfloat16),
        torch.tensor([True, False, True]),
        torch.nn.Parameter(torch.ones(3)),
    ],
    ids=["scalar", "empty", "transposed", "bfloat16", "bool", "parameter"],
)
def test_every_kind_of_tensor(tensor: torch.Tensor, tmp_path: Path) -> None:
    found = from_file({"before": np.arange(3), "x": tensor, "after": torch.ones(2)}, tmp_path)
    assert found["x"].dtype == tensor.dtype
    assert torch.equal(found["x"], tensor.detach())
    assert found["after"].tolist() == [1, 1]


def test_processes_that_write_do_not_change_the_file(tmp_path: Path) -> None:
    file = TensorFile.write(tmp_path / "x", torch.zeros(3))
    file.load().fill_(7)
    assert file.load().tolist() == [0, 0, 0]
