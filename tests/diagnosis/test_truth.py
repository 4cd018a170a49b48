from pathlib import Path

import pytest
import small_bundle
import torch

from brmrs.columns import TRUTH_INTERACTIONS
from brmrs.diagnosis.groups import TRUTH_FILE, groups, planted_types
from brmrs.errors import UserError
from brmrs.system.files import write_parquet

USERS, ITEMS = torch.tensor([0, 1, 1, 2]), torch.tensor([0, 2, 3, 1])


def write(folder: Path, *types: str) -> None:
    """The types of (ann, B1), (bob, B3) and (zoe, B1); the model does not know zoe."""
    columns = {"user_id": ["ann", "bob", "zoe"], "asin": ["B1", "B3", "B1"], "type": types}
    write_parquet(folder / TRUTH_FILE, TRUTH_INTERACTIONS, columns)


def test_types_by_raw_ids(tmp_path: Path) -> None:
    write(tmp_path, "synergy", "none", "redundant")
    found = planted_types(tmp_path, small_bundle.make(), USERS, ITEMS)
    assert found.tolist() == ["synergy", "none", None, None]
    by_name = {(each.dimension, each.name): each.pairs.tolist() for each in groups(4, [], found)}
    assert by_name == {
        ("all", "all"): [True] * 4,
        ("type", "synergy"): [True, False, False, False],
        ("type", "none"): [False, True, False, False],
    }


def test_an_unknown_type(tmp_path: Path) -> None:
    write(tmp_path, "synergy", "smell", "none")
    with pytest.raises(UserError, match="'smell' is no type of text_unique"):
        planted_types(tmp_path, small_bundle.make(), USERS, ITEMS)


def test_the_truth_of_another_sample(tmp_path: Path) -> None:
    write(tmp_path, "synergy", "none", "redundant")
    with pytest.raises(UserError, match="has none of the test pairs"):
        planted_types(tmp_path, small_bundle.make(), USERS[2:], ITEMS[2:])


@pytest.mark.parametrize("content", [b"", b"no table", None])
def test_a_folder_without_a_truth(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / TRUTH_FILE).write_bytes(content)
    with pytest.raises(UserError, match="not the truth of a sample") as caught:
        planted_types(tmp_path, small_bundle.make(), USERS, ITEMS)
    assert "\n" not in str(caught.value)


def test_a_table_of_other_columns(tmp_path: Path) -> None:
    write_parquet(
        tmp_path / TRUTH_FILE, TRUTH_INTERACTIONS.remove(2), {"user_id": ["a"], "asin": ["b"]}
    )
    with pytest.raises(UserError, match="not the truth of a sample"):
        planted_types(tmp_path, small_bundle.make(), USERS, ITEMS)
