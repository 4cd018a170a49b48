"""Plain text from what dumps hold: HTML, entities, control characters, broken surrogates."""

from collections.abc import Iterator
from html.parser import HTMLParser

MAX_TEXT = 20_000  # characters of one string; text models read about 1,000
# Tags inside a word do not end it; all others separate words.
INLINE = frozenset({"a", "b", "em", "font", "i", "span", "strong", "sub", "sup", "u"})
DROPPED = frozenset({"script", "style"})
# C0 and C1 controls that are no white space, the byte order mark and the zero-width space.
_CONTROLS = dict.fromkeys(
    [code for code in [*range(0x20), *range(0x7F, 0xA0)] if not chr(code).isspace()]
    + [0xFEFF, 0x200B]
)


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._dropping = 0

    def handle_starttag(self, tag: str, _attrs: list[tuple[str, str | None]]) -> None:
        self._dropping += tag in DROPPED
        self._separate(tag)

    def handle_startendtag(self, tag: str, _attrs: list[tuple[str, str | None]]) -> None:
        self._separate(tag)

    def handle_endtag(self, tag: str) -> None:
        self._dropping -= tag in DROPPED and self._dropping > 0
        self._separate(tag)

    def handle_data(self, data: str) -> None:
        if not self._dropping:
            self.parts.append(data)

    def _separate(self, tag: str) -> None:
        if tag not in INLINE:
            self.parts.append(" ")


def clean(text: str) -> str:
    """Text without tags, scripts, styles, entities and control characters, white space folded."""
    text = text[:MAX_TEXT]
    if "<" in text or "&" in text:
        parser = _Text()
        parser.feed(text)
        parser.close()
        text = "".join(parser.parts)
    if not text.isascii():
        # Python 2 wrote emoji as surrogate pairs; joined here, and a lone half is replaced.
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return " ".join(text.translate(_CONTROLS).split())


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
