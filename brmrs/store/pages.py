"""Names of the pages in `reports/` of a store: which runs a page shows."""

import hashlib
import re
from collections.abc import Collection, Sequence

MOST_LETTERS = 200  # of a page's name; file systems take 255 bytes
_NEW_NAME = r"[0-9]{8}-[0-9]{6}-[0-9]{3}-[0-9a-f]{4}"  # of a run, as `new_name` gives it


def page_of(names: Sequence[str]) -> str:
    """The file name of the page that shows these runs side by side.

    From the number on at which a name would be too long for a file system, it has the first run,
    the number of the others, and a digest of all names.
    """
    stem = "+".join(names)
    if len(stem) > MOST_LETTERS:
        digest = hashlib.sha256(stem.encode()).hexdigest()[:12]
        stem = f"{names[0]}+{len(names) - 1}-others-{digest}"
    return f"{stem}.html"


def page_runs(file: str, known: Collection[str]) -> list[str]:
    """The runs that a page in `reports` shows, by its file name; none if no command wrote it.

    Args:
        file: its name.
        known: names of runs, beside those that `new_name` gives.
    """
    stem = file.removesuffix(".html")
    first, *others = stem.split("+")
    if len(others) == 1 and re.fullmatch(r"[0-9]+-others-[0-9a-f]{12}", others[0]):
        others = []
    names = [first, *others]
    ours = all(name in known or re.fullmatch(_NEW_NAME, name) for name in names)
    return names if ours and stem != file else []
