"""The name or path that was meant, for errors about one that does not exist."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from itertools import islice
from pathlib import Path, PurePath

MOST = 20_000  # entries of a folder that are compared
SHOWN = 3  # names of equal rank
ALIKE = 0.6  # least similarity of names, as `difflib` measures it
ALIKE_FILES = 0.7  # and of names of files, which are short


def nearest(wanted: str, known: Iterable[str], n: int = 1, least: float = ALIKE) -> list[str]:
    """The names that are similar, in any case of the letters; the most similar first.

    Args:
        wanted: the name that does not exist.
        known: those that do.
        n: number of names at most.
        least: similarity, in [0, 1].
    """
    folded: dict[str, str] = {}
    for name in known:
        folded.setdefault(name.casefold(), name)
    return [folded[each] for each in get_close_matches(wanted.casefold(), folded, n, least)]


def did_you_mean(names: Sequence[str]) -> str:
    """`; did you mean X?`, to be appended to an error; "" without a name."""
    *first, last = names or [""]
    listed = f"{', '.join(first)} or {last}" if first else last
    return f"; did you mean {listed}?" if listed else ""


def nearest_field(wanted: str, known: Sequence[str]) -> list[str]:
    """The dotted paths whose last part is that of `wanted`, or else the one similar to it.

    Of several, those whose whole path is the most similar.
    """
    found = of_last_part(_last(wanted), known)
    if not found and (alike := nearest(_last(wanted), map(_last, known))):
        found = of_last_part(alike[0], known)
    return nearest(wanted, found, SHOWN, least=0.0)


def of_last_part(name: str, known: Iterable[str]) -> list[str]:
    """The dotted paths with this last part, the shortest first."""
    return sorted((path for path in known if _last(path) == name), key=len)


def instead(path: Path, advice: str, others: Iterable[str] = ()) -> str:
    """What to do about a path that cannot be read: `did you mean X?` if it is misspelt.

    Args:
        path: as the user wrote it.
        advice: if it exists, or nothing is similar.
        others: paths that may be meant beside those in the file system.
    """
    try:
        found = None if path.exists() else _nearest_path(path) or _nearest_name(str(path), others)
    except OSError:  # a folder on the way cannot be read
        found = None
    return f"did you mean {found}?" if found else advice


def _nearest_path(path: Path) -> str | None:
    """The existing path whose parts are those of `path`, or similar."""
    there = next((each for each in path.parents if each.exists()), None)
    if there is None or not there.is_dir():
        return None
    wanted, *rest = path.relative_to(there).parts
    name = _nearest_name(wanted, [each.name for each in islice(there.iterdir(), MOST)])
    if name is None:
        return None
    if not there.joinpath(name).exists():  # a link to nothing
        return None
    found = there.joinpath(name, *rest)
    return str(found) if found.exists() else _nearest_path(found)


def _nearest_name(wanted: str, known: Iterable[str]) -> str | None:
    """The name with the most similar stem. Without extensions: all files may have the same."""
    names = [name for name in sorted(known) if name != wanted]
    stems = nearest(
        PurePath(wanted).stem, (PurePath(name).stem for name in names), least=ALIKE_FILES
    )
    alike = [name for name in names if stems and PurePath(name).stem == stems[0]]
    return next(iter(nearest(wanted, alike, least=0.0)), None)


def _last(path: str) -> str:
    return path.rpartition(".")[2]
