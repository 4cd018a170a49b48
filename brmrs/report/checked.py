"""Read the JSON files that the report needs. They are untrusted (see `brmrs.system.untrusted`).

Only the fields that the report reads are declared; others are ignored.
"""

from pathlib import Path
from typing import Annotated, Any, NotRequired, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter
from typing_extensions import TypedDict

from brmrs.columns import BASELINE, FUSED, SPLIT_NAMES, TEST, VALIDATION, metric
from brmrs.errors import UserError
from brmrs.store.runs import Evaluation
from brmrs.system import untrusted

_OPEN = ConfigDict(extra="allow")  # later versions may add fields
Count = Annotated[int, Field(ge=0)]
T = TypeVar("T")


class Definitions(TypedDict):
    """One sentence per metric, and those of the lists and of the strata."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]
    protocol: str
    lists: dict[str, str]
    strata: dict[str, str]


class Metrics(Evaluation):
    """`metrics.json` of the stage evaluate."""

    branches: dict[str, dict[str, dict[str, float]]]
    lists: dict[str, dict[str, dict[str, float | None]]]
    definitions: Definitions
    coverage: dict[str, dict[str, float | None]]


class Size(TypedDict):
    """Users, items and interactions of a data set."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]
    users: Count
    items: Count
    interactions: Count


class Core(Size):
    """The size of a k-core."""

    k: Count


class Whole(TypedDict):
    """The size of a data set that is not empty."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]
    users: Annotated[int, Field(gt=0)]
    items: Annotated[int, Field(gt=0)]
    interactions: Annotated[int, Field(gt=0)]


class Lines(TypedDict):
    """What was read of one kind of file; quarantined lines by reason."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]
    lines: Count
    duplicates: Count
    quarantined: dict[str, Count]


class Statistics(Size):
    """`statistics.json` of the stage ingest."""

    sparsity: float
    k: Count
    cores: list[Core]
    before_k_core: Whole
    reviews: Lines
    metadata: Lines
    items_with: dict[str, Count]


class Feature(TypedDict):
    """The vectors of one modality that a model was trained with."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]
    label: str
    present: Count
    items: Count
    used: NotRequired[bool]


class _Selected(TypedDict):
    __pydantic_config__ = _OPEN  # type: ignore[misc]
    selection: str


class _Named(TypedDict):
    __pydantic_config__ = _OPEN  # type: ignore[misc]
    name: str


class Model(TypedDict):
    """`bundle.json` of the stage train."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]
    model: _Named
    train: _Selected
    best_epoch: Count
    features: dict[str, Feature]


class Vectors(TypedDict):
    """`meta.json` of a stage of features."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]
    modality: str
    label: str
    weights: str
    weights_sha256: str | None
    dimension: Count
    present: Count


class _Most(TypedDict):
    __pydantic_config__ = _OPEN  # type: ignore[misc]
    items: Count


class Shared(TypedDict):
    """`shared.json` of the stage images: pictures that several items have."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]
    items: Count
    pictures: Count
    most: list[_Most]


STATISTICS = TypeAdapter(Statistics)
MODEL = TypeAdapter(Model)
VECTORS = TypeAdapter(Vectors)
STATUSES = TypeAdapter(dict[str, Count])
SHARED = TypeAdapter(Shared)
_METRICS = TypeAdapter(Metrics)


def read(path: Path, schema: TypeAdapter[T]) -> T:
    """The content of a file.

    Raises:
        UserError: the file is missing, damaged, or not of that schema.
    """
    try:
        return untrusted.read(path, schema)
    except (OSError, ValueError) as error:
        raise _refused(path, error) from error


def read_metrics(path: Path) -> Metrics:
    """`metrics.json`, with every branch, the baseline, and the same metrics of each.

    Raises:
        UserError: the file is missing, damaged or incomplete.
    """
    found = read(path, _METRICS)
    try:
        _check(found)
    except ValueError as error:
        raise _refused(path, error) from error
    return found


def _check(found: Metrics) -> None:
    test, validation = SPLIT_NAMES[TEST], SPLIT_NAMES[VALIDATION]
    scorers: dict[str, Any] = {**found["branches"], **found["baseline"]}
    for name in (FUSED, BASELINE):
        _need(name in scorers, f"branches.{name}")
        _need(test in found["lists"].get(name, {}), f"lists.{name}.{test}")
    for split in (test, validation):
        _need(split in found["users"], f"users.{split}")
        for name, splits in scorers.items():
            _need(set(splits.get(split, {})) == set(found[split]), f"{name}.{split}")  # type: ignore[literal-required]
    _need(bool(found["test"]), test)
    k = max(int(name.partition("@")[2]) for name in found["test"])
    for kind in ("recall", "ndcg"):
        _need(metric(kind, k) in found["test"], f"{test}.{metric(kind, k)}")
    intervals = found.get("intervals", {})
    for name in scorers:
        _need(test in intervals.get(name, {}), f"intervals.{name}.{test}")


def _need(there: bool, what: str) -> None:
    if not there:
        raise ValueError(f"{what} is missing or has other metrics")


def _refused(path: Path, error: Exception) -> UserError:
    reason = error.strerror if isinstance(error, OSError) else error
    return UserError(f"{path}: not readable for a report ({reason}); run the pipeline again")
