"""Python literals, as the metadata of 2014 are written, many times as fast as `ast.literal_eval`.

A line is rewritten as JSON where each of its parts means the same in both languages, which holds
for nearly all lines; any other goes through `ast.literal_eval`. Nothing is executed.
"""

import ast
import re
from typing import Any

import orjson

# A string of either kind, perhaps with the prefix that Python 2 wrote.
_STRING = re.compile(r"""(u?'(?:[^'\\]|\\.)*+'|u?"(?:[^"\\]|\\.)*+")""")
# Between strings: no sign, as -0 differs, no more digits than a double holds, no bracket of a tuple.
_BETWEEN = re.compile(r"(?:[\[\]{},:' \t.eE]|[0-9]{1,15}(?![0-9])|True|False|None)*+")
_WORD = re.compile(r"[TFN]")
_SPECIAL = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|(.))|\"", re.DOTALL)
_SAME = frozenset("\\nrtbf")  # the escapes that both languages have


class _UnusualError(Exception):
    """The text holds what JSON does not have, or has in another sense."""


def literal(text: str) -> Any:
    """The value of a Python literal, equal to that of `ast.literal_eval`, strings and all.

    Raises:
        ValueError, SyntaxError, TypeError, MemoryError, RecursionError: as `ast.literal_eval`.
    """
    try:
        return orjson.loads(_as_json(text))
    except (_UnusualError, orjson.JSONDecodeError):
        return ast.literal_eval(text)


def _as_json(text: str) -> str:
    if "\\" not in text and '"' not in text and "u'" not in text:
        between = text.split("'")[::2]
        _check("'".join(between))
        if not _WORD.search("".join(between)):
            return text.replace("'", '"')
    parts = _STRING.split(text)
    between = _words(parts[::2])
    parts[::2] = between
    parts[1::2] = [_string(part) for part in parts[1::2]]
    return "".join(parts)


def _words(between: list[str]) -> list[str]:
    joined = "'".join(between)
    _check(joined)
    if joined.count("'") != len(between) - 1:  # one that opens no string
        raise _UnusualError
    if not _WORD.search(joined):
        return between
    joined = joined.replace("None", "null").replace("True", "true").replace("False", "false")
    return joined.split("'")


def _check(between: str) -> None:
    if not _BETWEEN.fullmatch(between):
        raise _UnusualError


def _string(token: str) -> str:
    body = token[2:-1] if token[0] == "u" else token[1:-1]
    if "\\" in body or '"' in body:
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
