"""Plain text from the HTML, entities, control characters and broken surrogates of dumps."""

import re
from collections.abc import Iterable, Iterator
from html import unescape
from typing import Any

MAX_ADDRESS = 2048  # characters
MAX_TEXT = 20_000  # characters of one string; text models read about 1,000
ESCAPED_AT_MOST = 3  # times; entities of entities are common
# Texts that mean an absent value.
ABSENT = frozenset(
    {"nan", "NaN", "NAN", "none", "None", "NONE", "null", "Null", "NULL", "<NA>", "N/A", "n/a"}
    | {"#N/A", "undefined"}
)
# Some titles of 2018 are the script of the page, which calls this function.
_SCRIPT = re.compile(r"\.\s*getTime\s*\(")

# Only elements of HTML are tags: "<Set of 2> Cups" and "L<M, W>H" are text. Inline tags may be in
# the middle of a word; all others separate words.
_INLINE = """
a abbr acronym b bdi bdo big cite code data dfn em font i ins del kbd label mark nobr q ruby s samp
small span strike strong sub sup time tt u var wbr
"""
_BLOCKS = """
address area article aside audio base basefont blockquote body br button canvas caption center col
colgroup datalist dd details dialog dir div dl dt embed fieldset figcaption figure footer form frame
frameset h1 h2 h3 h4 h5 h6 head header hgroup hr html iframe img input legend li link main map
marquee menu meta meter nav noframes noscript object ol optgroup option output p param picture pre
progress rp rt script search section select slot source style summary svg table tbody td template
textarea tfoot th thead title tr track ul video
"""
# Attributes without a value. "<a to b>" is text: tags have these, attributes with values, or none.
_BARE = """
allowfullscreen async autoplay checked compact controls defer disabled hidden ismap itemscope loop
multiple muted nohref noshade nowrap open readonly required reversed selected
"""
INLINE = frozenset(_INLINE.split())
ELEMENTS = INLINE | frozenset(_BLOCKS.split())
BARE = frozenset(_BARE.split())
WORD_PROCESSOR = ("o:", "v:", "w:", "st1:")  # prefixes of the elements that it writes
# Not html.parser: on "<a <a <a ..." it takes quadratic time, and its treatment of broken HTML
# differs between releases of Python. Possessive repeats keep this one linear.
_MARKUP = re.compile(
    r"<(?P<block>script|style)\b[^<>]*+>.*?(?:</(?P=block)\s*+>|\Z)"  # with their content
    r"|<!--.*?(?:-->|\Z)"
    r"|<(?P<end>/?)(?P<name>[a-z][a-z0-9:]*+)(?![^\s/>])"
    r"""(?P<rest>(?:=\s*+"[^"]*+"|=\s*+'[^']*+'|[^<>])*+)(?P<close>>|\Z|(?=<))"""
    r"|<(?:!(?:[a-z]|\[)|\?xml)[^<>]*+>",
    re.IGNORECASE | re.DOTALL,
)
# C0 and C1 controls that are no white space, the byte order mark, the zero-width space, the soft
# hyphen, and marks of text direction, which would reorder the text around a title.
_CONTROLS = dict.fromkeys(
    [code for code in [*range(0x20), *range(0x7F, 0xA0)] if not chr(code).isspace()]
    + [0xFEFF, 0x200B, 0xAD, 0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2060, 0x2070)]
)


def clean(text: str) -> str:
    """Text without tags, scripts, styles, entities and control characters, white space folded."""
    text = text[:MAX_TEXT]
    if "<" in text:
        text = _MARKUP.sub(_instead, text)
    for _ in range(ESCAPED_AT_MOST):
        if "&" not in text or (plain := unescape(text)) == text:
            break
        text = plain
    if not text.isascii():
        # Python 2 wrote emoji as surrogate pairs: joined here. A lone surrogate is replaced.
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if not text.isprintable():  # none of the controls is printable
        text = text.translate(_CONTROLS)
    return " ".join(text.split())


def _instead(found: re.Match[str]) -> str:
    """The replacement of a tag; text that only looks like one is kept."""
    name = (found["name"] or "").lower()
    if not name:
        return " "
    if name not in ELEMENTS and not name.startswith(WORD_PROCESSOR):
        return found[0]
    rest = found["rest"]
    if found["close"]:
        is_tag = (
            found["end"] or "=" in rest or BARE.issuperset(rest.replace("/", " ").lower().split())
        )
    else:
        is_tag = "=" in rest  # the tag is not closed
    if not is_tag:
        return found[0]
    return "" if name in INLINE else " "


def is_address(value: object) -> bool:
    """Whether a value is the http(s) address of a picture."""
    return (
        isinstance(value, str)
        and value.startswith(("http://", "https://"))
        and len(value) <= MAX_ADDRESS
        and value.isprintable()
    )


def is_script(title: str) -> bool:
    """Whether a title is the script of the page."""
    return bool(_SCRIPT.search(title))


def texts(value: Any) -> list[str]:
    """All clean texts of a string or of lists of strings, in order; absent values are left out."""
    return cleaned(leaves(value))


def cleaned(values: Iterable[Any]) -> list[str]:
    """The clean texts among some values, in order; absent ones are left out."""
    found = (clean(value) for value in values if isinstance(value, str))
    return [text for text in found if text and text not in ABSENT]


def leaves(value: Any) -> Iterator[Any]:
    """The values in nested lists, in order, without None and empty values."""
    rest = [value]
    while rest:
        part = rest.pop()
        if isinstance(part, list | tuple):
            rest.extend(reversed(part))
        elif part is not None and part != {}:
            yield part
