"""Plain values (null, booleans, numbers, texts, lists, mappings) from untrusted YAML."""

import re
from collections.abc import Iterator
from typing import Any

import yaml

DEEPEST = 20  # nested lists and mappings
MOST = 100_000  # values in a file; a few aliases can expand to billions
LARGEST = 2**63
_TOO_DEEP = re.compile(r"(?:[\[{]\s*){100}")


class NotPlainError(ValueError):
    """Why a text does not give plain values, in one line."""


class _Loader(yaml.SafeLoader):
    """The safe loader, but a key that occurs twice is an error: one of its values would be lost."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen and isinstance(key, yaml.ScalarNode):
                raise NotPlainError(
                    f"line {key.start_mark.line + 1}: {_short(key.value)} occurs twice; keep one"
                )
            if isinstance(key, yaml.ScalarNode):
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def from_yaml(text: str) -> Any:
    """The plain values of a YAML text.

    Raises:
        NotPlainError: it is no YAML, or holds something else than plain values.
    """
    if _TOO_DEEP.search(text):  # else PyYAML takes seconds until the stack overflows
        raise NotPlainError("not YAML: nested too deeply")
    try:
        value = yaml.load(text, _Loader)
    except NotPlainError:
        raise
    except RecursionError as error:
        raise NotPlainError("not YAML: nested too deeply") from error
    except Exception as error:  # on some scalars, the constructors raise other exceptions
        raise NotPlainError(f"not YAML: {' '.join(str(error).split())[:300]}") from error
    check(value)
    return value


def check(value: object) -> None:
    """Raise a NotPlainError unless the value is plain.

    Also refused: nesting beyond `DEEPEST`, more than `MOST` values, integers beyond 64 bits, NUL
    characters and lone surrogates in texts, mappings with other keys than texts.
    """
    for count, each in enumerate(_all(value, 0)):
        if count == MOST:
            raise NotPlainError(f"more than {MOST:,} values")
        if isinstance(each, str):
            _check_text(each)
        elif isinstance(each, int):
            if not -LARGEST <= each < LARGEST:
                raise NotPlainError("a number has more than 64 bits")
        elif not isinstance(each, float | list | tuple | dict | None):
            kind = type(each).__name__
            raise NotPlainError(f"{_short(str(each))} is a {kind}; write a text in quotes")


def _all(value: object, depth: int) -> Iterator[object]:
    """The value and all values in it, keys included."""
    if depth > DEEPEST:
        raise NotPlainError(f"nested more than {DEEPEST} deep")
    yield value
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise NotPlainError(f"the name {_short(str(key))} is no text; write it in quotes")
            yield key
            yield from _all(inner, depth + 1)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _all(inner, depth + 1)


def _check_text(text: str) -> None:
    if "\0" in text:
        raise NotPlainError(f"{_short(text)} holds a NUL character")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise NotPlainError(f"{_short(text)} is not valid Unicode (UTF-8)") from error


def _short(text: str) -> str:
    """A text in quotes, printable, of a line at most."""
    shown = ascii(text)
    return shown if len(shown) <= 60 else f"{shown[:57]}...'"
