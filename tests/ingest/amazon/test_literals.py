"""`literal` equals `ast.literal_eval`: the same value and types, or both refuse."""

import ast
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from brmrs.ingest.amazon.literals import _as_json, literal

REFUSALS = (ValueError, SyntaxError, TypeError, MemoryError, RecursionError)
texts = st.text() | st.text("'\"\\unNx0aé{}[]:, \t\n\r")
scalars = (
    texts
    | st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**15, 10**16, 2**64, -0.0, 0.0])
    | st.floats(allow_nan=False)
    | st.binary(max_size=5)
    | st.complex_numbers(allow_nan=False, allow_infinity=False)
)
literals = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(texts | st.integers() | st.booleans(), inner, max_size=4)
        | st.tuples(inner, inner)
        | st.sets(texts, min_size=1, max_size=3)
    ),
    max_leaves=12,
)


def outcome(read: Any, text: str) -> str:
    """The value with its types and signs, as text; or that it was refused."""
    try:
        return repr(read(text))
    except REFUSALS:
        return "refused"


def agrees(text: str) -> None:
    assert outcome(literal, text) == outcome(ast.literal_eval, text)


@given(literals)
def test_every_literal_is_read_as_written(value: Any) -> None:
    agrees(repr(value))
    agrees(ascii(value))


PIECES = (
    "'|\"|\\|'a'|\"b\"|u'|u\"|b'|r'|'''|None|True|False|null|{|}|[|]|(|)|,|:| |1|0|-|+|.|e|_|j|#|"
    "'a': |\\x41|\\u00e9|\\ud83d\\ude00|\\N{DASH}|\\101|\\/|\\\n|\t|9999999999999999|1e400|007|1_0|"
    "u|é|\0|\x0c|\xa0|\u2028|a|\r|nan|inf|true|...|f'|lambda: 1|\\'|\\\"|\\\\|\\a|\\0"
)
pieces = st.lists(st.sampled_from(PIECES.split("|")), max_size=12).map("".join)


@given(pieces | pieces.map(lambda text: "{'asin': " + text + "}") | texts)
@settings(max_examples=1000)
@example("{'a': 'b' 'c'}")
@example("{'a': '''b'''}")
@example("{'a': 1e400, 'b': -0, 'c': -0.0, 'd': 12345678901234567890123}")
@example("{'a': 00, 'b': 1., 'c': .5, 'd': 1_000, 'e': 0x1f}")
@example(r"{'a': '\/ \v \a \101 \N{BULLET} \ud83d\ude00 \x41'}")
@example("{'a': None, 'a': True, 1: 2, None: 3}")
@example("{'a': (1,), 'b': {1, 2}, 'c': b'x', 'd': ()}")
@example("{u'a': u'b', U'c': 'd', ur'e': 'f'}")
@example("{'a': 'tab\there', 'b': [1,], }")
@example("['a'None]")
@example("{'a': 'N' None}")
@example("{'a': 0.1e1e1}")
@example("{'a': 1}u")
@example("{u'menu': u\"it's\", 'u': 'u'u'u'}")
@example("{'a': 'b\\\nc', 'd': None, 'e': 'f}")
def test_any_text_is_read_alike(text: str) -> None:
    agrees(text)


LINE = (
    "{'asin': '0001', 'title': 'Dad\\'s \"best\" caf\\xe9', \"x\": \"it's\", 'price': 9.5,"
    " 'n': None, 'salesRank': {'Books': 1}, 'categories': [['Books']], 'd': u'\\u2122 \\n'}"
)


@pytest.mark.parametrize("text", [LINE, "{'asin': 'i', 'price': 5.99}", "{'a': None, 'b': 'c'}"])
def test_usual_lines_take_the_fast_way(text: str) -> None:
    agrees(text)
    _as_json(text)  # raises where it leaves the line to literal_eval
