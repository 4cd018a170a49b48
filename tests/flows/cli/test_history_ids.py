"""How `brmrs recommend --history` reads ids."""

import pytest

from flows.cli.recommend import _ids

KNOWN = {"a", "b c", 'item, "43"', "x,y"}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["a, b c,new"], ["a", "b c", "new"]),
        (['item, "43"', "a"], ['item, "43"', "a"]),  # an id with a comma, given on its own
        (["x,y"], ["x,y"]),
        (["x,y,a"], ["x", "y", "a"]),
        ([" ", ",,"], []),
    ],
)
def test_ids_with_commas_are_given_on_their_own(values: list[str], expected: list[str]) -> None:
    assert _ids(values, KNOWN) == expected
