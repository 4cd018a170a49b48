import pytest
from hypothesis import given
from hypothesis import strategies as st

from brmrs.ingest.clean import clean, is_script, leaves, texts


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("plain", "plain"),
        ("Salt &amp; Pepper", "Salt & Pepper"),
        ("caf&eacute; &#9749; &#x41;", "café ☕ A"),
        ("AT&T, R&D", "AT&T, R&D"),
        ("one<br>two<br/>three", "one two three"),
        ("<p>first</p><p>second</p>", "first second"),
        ("half<b>way</b>", "halfway"),
        ('<a href="http://x?a=1&b=2">link</a>', "link"),
        ("a<script>var x = '<b>';</script>b", "a b"),
        ("cut <script>var x = 1", "cut"),
        ("1<SUP>st</SUP> <DIV class='x'>place</DIV>", "1st place"),
        ("<!DOCTYPE html>page", "page"),
        ("&lt;b&gt; is a tag", "<b> is a tag"),
        ("a <style>p {color: red}</style> b", "a b"),
        ("text </style> stays", "text stays"),
        ("5 < 6 and 7 > 3", "5 < 6 and 7 > 3"),
        ("I <3 it", "I <3 it"),
        ("<!-- hidden -->shown", "shown"),
        ("tab\tand\nfeed  and\u00a0space ", "tab and feed and space"),
        ("bell\x07 nul\x00 escape\x1b c1\x85\x9f", "bell nul escape c1"),
        ("\ufeffmark zero\u200bwidth", "mark zerowidth"),
        ("\u202egpj.exe\u202c \u2066x\u2069 &#x202e;", "gpj.exe x"),
        ("soft\u00adhyphen, word\u2060joiner", "softhyphen, wordjoiner"),
        ("\u05e9\u05dc\u05d5\u05dd stays", "\u05e9\u05dc\u05d5\u05dd stays"),
        ("\ud83d\ude00 joined, lone \ud83d half", "😀 joined, lone \ufffd half"),
        ("👩‍👩‍👧 stays", "👩‍👩‍👧 stays"),
        ("unclosed <b>bold", "unclosed bold"),
        ('<span class="a-size-medium a-color-secondary"', ""),
        ('<span class="a-size-medium a-col', ""),
        ('Mug <span class="a" <b>blue</b>', "Mug blue"),
        ("<Set of 2> Cups", "<Set of 2> Cups"),
        ("Cable (L<M, W>H)", "Cable (L<M, W>H)"),
        ("Cable <A to B> 2m", "Cable <A to B> 2m"),
        ("A <i", "A <i"),
        ("a<b and c>d", "a<b and c>d"),
        ('<a title="x > y" href=z>link</a>', "link"),
        ('<p align="center"class="x">text<td nowrap>cell', "text cell"),
        ("<input disabled/>text<br clear=all />more", "text more"),
        ("<o:p>Word</o:p><?xml version=1?><![CDATA[x]]>", "Word"),
        ("R&amp;amp;D &amp;lt;3 &amp;amp;amp; &amp;nbsp;", "R&D <3 &"),
        ("", ""),
        (" \n ", ""),
    ],
)
def test_text_is_cleaned(raw: str, expected: str) -> None:
    assert clean(raw) == expected


@given(st.text(max_size=200))
def test_clean_text_is_printable_folded_and_encodable(raw: str) -> None:
    text = clean(raw)
    text.encode()
    assert text == " ".join(text.split())
    assert not any(ord(character) < 32 for character in text)


@pytest.mark.parametrize(
    "raw",
    [
        "<" * 10**6,
        "<a " * 10**6,
        "<!--" * 10**6,
        "&" * 10**6,
        "</" * 10**6,
        "<a='" * 10**6,
        "<" + "a" * 10**6,
        "<a" + " " * 10**6,
        "<script>" * 10**6,
        "<script></script " * 10**6,
        "<?xml" * 10**6,
        "<a x='\"" * 10**6,
        "<a " + "x=1 " * 10**6,
        "&amp;" * 10**6,
    ],
)
def test_hostile_markup_takes_no_time(raw: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So much of it that with the square of its length it would take longer than a test may."""
    monkeypatch.setattr("brmrs.ingest.clean.MAX_TEXT", 10**6)
    assert len(clean(raw)) <= 10**6


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("one", ["one"]),
        (["one", "", " ", "two"], ["one", "two"]),
        ([["a", "b"], ["c"], "d"], ["a", "b", "c", "d"]),
        (("a", ["b"]), ["a", "b"]),
        (None, []),
        (5, []),
        ({"a": "b"}, []),
        ([1, None, {"a": "b"}, "c"], ["c"]),
        (["nan", "NaN", "None", "null", "<NA>"], []),
        (["N/A", "n/a", "#N/A", "NONE", "undefined"], []),
        (["Nan Bread", "None of Us", "banana"], ["Nan Bread", "None of Us", "banana"]),
    ],
)
def test_texts_are_found_in_lists(value: object, expected: list[str]) -> None:
    assert texts(value) == expected


def test_leaves_are_everything_but_lists_and_empty_values() -> None:
    assert list(leaves([1, None, {}, {"a": "b"}, ["c", [""]]])) == [1, {"a": "b"}, "c", ""]


def test_deep_lists_do_not_exhaust_the_stack() -> None:
    value: object = "deep"
    for _ in range(50_000):
        value = [value]
    assert texts(value) == ["deep"]


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("var aPageStart = (new Date()).getTime();", True),
        ("var ue_t0=window.ue_t0||+new Date().getTime ();", True),
        ("BudgetTimer kitchen clock", False),
        ("GadgetTime wrist watch", False),
        ("How to use getTime in JavaScript", False),
    ],
)
def test_scripts_are_no_titles(title: str, expected: bool) -> None:
    assert is_script(title) == expected
