"""Plain text from what dumps hold: HTML, entities, control characters, broken surrogates."""

import re
from collections.abc import Iterator
from html import unescape

MAX_TEXT = 20_000  # characters of one string; text models read about 1,000
# Tags inside a word do not end it; all others separate words.
INLINE = frozenset({"a", "b", "em", "font", "i", "span", "strong", "sub", "sup", "u"})
# Not html.parser: on "<a <a <a ..." it takes time with the square of the length, and what it makes
# of broken HTML differs between releases of Python. Possessive repeats keep this one linear.
_MARKUP = re.compile(
    r"<(script|style)\b[^<>]*+>.*?(?:</\1\s*+>|\Z)"  # with their content
    r"|<!--.*?(?:-->|\Z)"
    r"|</?([a-z][^\s<>/]*+)[^<>]*+>"
    r"|<![a-z][^<>]*+>",
    re.IGNORECASE | re.DOTALL,
)
# C0 and C1 controls that are no white space, the byte order mark and the zero-width space.
_CONTROLS = dict.fromkeys(
    [code for code in [*range(0x20), *range(0x7F, 0xA0)] if not chr(code).isspace()]
    + [0xFEFF, 0x200B]
)


def clean(text: str) -> str:
    """Text without tags, scripts, styles, entities and control characters, white space folded."""
    text = text[:MAX_TEXT]
    if "<" in text:
        text = _MARKUP.sub(_instead, text)
    if "&" in text:
        text = unescape(text)
    if not text.isascii():
        # Python 2 wrote emoji as surrogate pairs; joined here, and a lone half is replaced.
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return " ".join(text.translate(_CONTROLS).split())


def _instead(tag: re.Match[str]) -> str:
    return "" if (tag[2] or "").lower() in INLINE else " "


def strings(value: object) -> list[str]:
    """All clean, non-empty strings of a value that may be a string or lists of such, in order."""
    return [text for text in map(clean, _flat(value)) if text]


def first(value: object) -> str:
    """The first of `strings`, or ""."""
    return next(iter(strings(value)), "")


def _flat(value: object) -> Iterator[str]:
    rest = [value]
    while rest:
        part = rest.pop()
        if isinstance(part, str):
            yield part
        elif isinstance(part, list | tuple):
            rest.extend(reversed(part))
