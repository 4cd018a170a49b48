"""Addresses of Amazon's picture servers: known placeholders, and thumbnails of larger pictures."""

import re
from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

# Pictures that say "no image available", by the name of their file without its modifiers.
PLACEHOLDERS = frozenset(
    {"01RmK+J4pJL", "01QFb8SNuTL", "01PkLIhTX3L", "01MKUOLsA5L", "31CTP6oiIBL"}
)
_NO_PICTURE = re.compile(r"no[-_](img|image|photo|picture)([-_].*)?", re.IGNORECASE)
# NAME._SS40_.jpg: the part between the dots is a request to shrink or crop NAME.jpg.
_MODIFIED = re.compile(r"(.*/[^/.?#]+)\._[^/?#]*_(\.\w+)([?#].*)?")


def is_placeholder(address: str) -> bool:
    """Whether an address is known to give a placeholder ("no image")."""
    try:
        file = unquote(urlsplit(address.strip()).path.rpartition("/")[2])
    except ValueError:
        return False
    name = file.partition(".")[0]
    return name in PLACEHOLDERS or _NO_PICTURE.fullmatch(name) is not None


def full_size(address: str) -> str:
    """The full-size address of a thumbnail; any other address unchanged.

    `.../I/51abc._SS40_.jpg` to `.../I/51abc.jpg`.
    """
    found = _MODIFIED.fullmatch(address)
    return found[1] + found[2] if found else address


def to_try(addresses: Sequence[str], *, enlarge: bool) -> tuple[str, ...]:
    """The addresses of an item in the order to try them, each once.

    Args:
        addresses: as the dump has them.
        enlarge: try the full-size address of a thumbnail before the thumbnail.
    """
    if not enlarge:
        return tuple(dict.fromkeys(addresses))
    both = ((full_size(address), address) for address in addresses)
    return tuple(dict.fromkeys(address for pair in both for address in pair))
