"""What items are called."""

import pytest

from brmrs.columns import item_name


@pytest.mark.parametrize(
    ("title", "brand", "categories", "name"),
    [
        ("Mug", "Acme", ["Home", "Mugs"], "Mug"),
        ("", "Acme", ["Home", "Mugs"], "Acme, Mugs (B1)"),
        ("", "", ["Home", None], "Home (B1)"),
        ("", "Acme", [], "Acme (B1)"),
        ("", "", [], "B1"),
    ],
)
def test_an_item_without_a_title_is_named_by_what_is_known(
    title: str, brand: str, categories: list[str | None], name: str
) -> None:
    assert item_name("B1", title, brand, categories) == name
