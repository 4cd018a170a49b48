"""Parse Python literals (the metadata of 2014) many times faster than `ast.literal_eval`.

A line is rewritten as JSON if each of its parts means the same in both languages, as in nearly all
lines. Other lines are parsed by `ast.literal_eval`. Nothing is executed.
"""

import ast
import re
from typing import Any

import orjson

_SINGLE = re.compile(r"'((?:[^'\\]++|\\.)*+)'", re.DOTALL)
_DOUBLE = re.compile(r'"((?:[^"\\]++|\\.)*+)"', re.DOTALL)
# Between strings: no sign, as -0 differs; no more digits than a double holds; no tuple.
_PUNCTUATION = re.compile(r"(?:[\[\]{},:' \t.]++|[0-9]{1,15}+(?![0-9]))*+")
_BETWEEN = re.compile(r"(?:[\[\]{},:' \t.eE]++|[0-9]{1,15}+(?![0-9])|True|False|None)*+")
_SPECIAL = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|(.))|\"", re.DOTALL)
_SAME = frozenset("\\nrtbf")  # the escapes that both languages have


# Characters for `ast.literal_eval`, whose syntax tree takes up to 500 times as many bytes. The
# lines of the public dumps that need it are shorter.
MAX_TREE = 100_000


class _UnusualError(Exception):
    """The text holds something that JSON lacks or reads otherwise."""


def literal(text: str) -> Any:
    """The value of a Python literal, equal to that of `ast.literal_eval`.

    Raises:
        ValueError, SyntaxError, TypeError, MemoryError, RecursionError: as `ast.literal_eval`;
            ValueError also for a text of more than `MAX_TREE` characters that is not like JSON.
    """
    try:
        return orjson.loads(_as_json(text))
    except (_UnusualError, orjson.JSONDecodeError):
        if len(text) > MAX_TREE:
            raise ValueError("too long for a syntax tree") from None
        return ast.literal_eval(text)


def _as_json(text: str) -> str:
    """Cut the text into strings with a quote or an escape, and stretches of plain strings."""
    out = []
    position = 0
    quote, slash = (
        text.find('"'),
        text.find("\\"),
    )  # the next marks; str.find is faster than a regex
    while quote >= 0 or slash >= 0:
        mark = quote if slash < 0 or 0 <= quote < slash else slash
        before = text[position:mark]
        inside = before.count("'") % 2 == 1  # of a string that begins at the last quote
        start = position + before.rfind("'") if inside else mark
        string = (_SINGLE if inside else _DOUBLE).match(text, start)
        if string is None:
            raise _UnusualError
        out += [_stretch(text[position:start], is_last=False), _string(string[1])]
        position = string.end()
        if 0 <= quote < position:
            quote = text.find('"', position)
        if 0 <= slash < position:
            slash = text.find("\\", position)
    out.append(_stretch(text[position:], is_last=True))
    return "".join(out)


def _stretch(text: str, is_last: bool) -> str:
    """A stretch without escapes and double quotes, with plain strings in single quotes."""
    parts = text.split("'")
    between = parts[::2]
    if _PUNCTUATION.fullmatch("'".join(between)):
        return text.replace("'", '"')
    # Python 2 wrote u'text'; such a prefix is directly before a quote.
    followed = len(between) - is_last
    between[:followed] = [part.removesuffix("u") for part in between[:followed]]
    joined = "'".join(between)
    if not _BETWEEN.fullmatch(joined):
        raise _UnusualError
    joined = joined.replace("None", "null").replace("True", "true").replace("False", "false")
    parts[::2] = joined.split("'")
    return '"'.join(parts)


def _string(body: str) -> str:
    if body.count("\\") == body.count("\\'"):  # no escape but of the quote itself
        body = body.replace("\\'", "'").replace('"', '\\"')
    else:
        body = _SPECIAL.sub(_escape, body)
    return f'"{body}"'


def _escape(found: re.Match[str]) -> str:
    byte, unit, other = found.groups()
    if byte is not None:
        return f"\\u00{byte}"
    if unit is not None and not 0xD800 <= int(unit, 16) <= 0xDFFF:
        return found[0]
    if found[0] in ('"', '\\"'):
        return '\\"'
    if other == "'":
        return "'"
    if other in _SAME:
        return found[0]
    raise _UnusualError
