from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brmrs.config.features import TextConfig
from brmrs.config.load import load
from brmrs.config.template import FIELDS, parse
from brmrs.errors import UserError

SHOE = {"title": "Shoe", "brand": "Acme", "categories": "Men, Shoes", "description": "A shoe."}
NOTHING = dict.fromkeys(FIELDS, "")


@pytest.mark.parametrize(
    ("template", "changes", "text"),
    [
        ("{title}", {}, "Shoe"),
        ("{title}\n{brand}\n{categories}", {}, "Shoe\nAcme\nMen, Shoes"),
        ("{title}\n{brand}\n{categories}", {"brand": ""}, "Shoe\nMen, Shoes"),
        ("{title}\n{brand}\n{categories}", {"brand": " \t\n"}, "Shoe\nMen, Shoes"),
        ("{title} by {brand}", {"brand": ""}, "Shoe by"),
        ("Brand: {brand}\n{title}", {"brand": ""}, "Shoe"),
        ("Product\n{title}", {}, "Product\nShoe"),
        ("Product\n{title}", {"title": ""}, ""),
        ("{{{title}}}", {}, "{Shoe}"),
        ("{title}{title}", {}, "ShoeShoe"),
        ("{title}", {"title": "{brand} {0} %s {"}, "{brand} {0} %s {"),
        ("{title}\n", {}, "Shoe"),
        ("{title}", {"title": "two\nlines"}, "two\nlines"),
    ],
)
def test_render(template: str, changes: dict[str, str], text: str) -> None:
    assert parse(template).render(SHOE | changes) == text


@pytest.mark.parametrize(
    ("template", "fault"),
    [
        ("{titel}", r"unknown field \{titel\}"),
        ("{}", "unknown field"),
        ("{0}", "unknown field"),
        ("{title.__class__}", "unknown field"),
        ("{title[0]}", "unknown field"),
        ("{ title }", "unknown field"),
        ("{title!r}", "alone"),
        ("{title:>9}", "alone"),
        ("{title", "line '{title'"),
        ("title}", "line 'title}'"),
        ("", "no field"),
        ("only words", "no field"),
        ("{{title}}", "no field"),
    ],
)
def test_bad_templates(template: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        parse(template)


def test_a_bad_template_is_found_when_the_configuration_is_read(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("features: {text: {template: '{titel}'}}")
    with pytest.raises(
        UserError, match=r"c\.yaml: features\.text\.template = .*unknown field \{titel\}"
    ):
        load(path)


@given(st.fixed_dictionaries({name: st.text(max_size=8) for name in FIELDS}))
def test_the_default_is_the_fields_that_are_not_empty(values: dict[str, str]) -> None:
    expected = "\n".join(values[name].strip() for name in FIELDS if values[name].strip())
    assert parse(TextConfig().template).render(values) == expected
