"""Read `diagnosis.json` of a store, which is untrusted (see `brmrs.system.untrusted`)."""

from pathlib import Path
from typing import Annotated, Any, NotRequired

from pydantic import ConfigDict, Field, TypeAdapter
from typing_extensions import TypedDict

from brmrs.diagnosis.schemas import (
    ABOVE,
    BRANCHES,
    DIAGNOSIS_FILE,
    KNOWN,
    NEGATIVES,
    PARTS,
    QUADRANTS,
    SAMPLERS,
    SETS,
    UNIFORM,
)
from brmrs.errors import UserError
from brmrs.system import untrusted

_OPEN = ConfigDict(extra="allow")  # later versions may add fields
Count = Annotated[int, Field(ge=0)]


class Share(TypedDict):
    """A value and its 95 % interval; None where it is a ratio of nothing."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]
    value: float | None
    low: float | None
    high: float | None


class Confusion(Share):
    """A share of so many negatives."""

    negatives: Count


class Sampler(TypedDict):
    """One sampler: by branch, its margins."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]
    false_negatives: float | None
    margin: dict[str, Share]
    not_separated: dict[str, Share]


class Diagnosis(TypedDict):
    """`diagnosis.json` (docs/diagnosis.md); the optional keys are absent if `cannot` says why."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]
    model: str
    cannot: str
    fused: str
    k: Annotated[int, Field(gt=0)]
    top_share: float
    users: Count
    pairs: Count
    pool: Count
    recall: dict[str, Share]
    definitions: dict[str, str]
    sets: NotRequired[dict[str, Share]]
    degeneration: NotRequired[Share]
    synergy: NotRequired[Share]
    confusion: NotRequired[dict[str, dict[str, Confusion] | None]]
    quadrants: NotRequired[dict[str, dict[str, Share]]]
    samplers: NotRequired[dict[str, Sampler]]
    information: NotRequired[dict[str, dict[str, Share]] | None]


_DIAGNOSIS = TypeAdapter(Diagnosis)
# By dotted place, the names that a diagnosis of all branches has there.
_NAMES: dict[str, tuple[str, ...]] = {
    "": ("sets", "degeneration", "synergy", "confusion", "quadrants", "samplers", "information"),
    "recall": BRANCHES,
    "sets": SETS,
    "confusion": ("by_score", "by_cosine"),
    "confusion.by_score": (ABOVE, UNIFORM),
    "confusion.by_cosine": (ABOVE, UNIFORM),
    "quadrants": NEGATIVES,
    **{f"quadrants.{kind}": QUADRANTS for kind in NEGATIVES},
    "samplers": SAMPLERS,
    **{f"samplers.{name}.{x}": BRANCHES for name in SAMPLERS for x in ("margin", "not_separated")},
    "information": ("known", "parts"),
    "information.known": KNOWN,
    "information.parts": PARTS,
}


def _check(found: Any, place: str, names: tuple[str, ...]) -> None:
    """Check that the values at a dotted place have these names; null is the lack of a measure."""
    for part in filter(None, place.split(".")):
        found = found and found[part]
    if found is not None and (missing := set(names) - set(found)):
        raise ValueError(f"{place}.{min(missing)} is missing".lstrip("."))


def read(folder: Path) -> Diagnosis:
    """The headline numbers in an artifact of the stage.

    Raises:
        UserError: the file is missing, damaged or incomplete.
    """
    path = folder / DIAGNOSIS_FILE
    try:
        found: Any = untrusted.read(path, _DIAGNOSIS)
        if not found["cannot"]:
            for place, names in _NAMES.items():
                _check(found, place, names)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(
            f"{path}: no diagnosis of a run ({reason}); run the pipeline again"
        ) from error
    return dict(found)  # type: ignore[return-value]
