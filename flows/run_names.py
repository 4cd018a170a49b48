"""Names of flow runs that distinguish runs of one data set and model."""

from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import BaseModel

LONGEST = 100  # characters; what does not fit is counted


def run_name(what: str, changes: Iterable[str]) -> str:
    """Data set, model and changed settings: `sample-br-mrs train.epochs=5`.

    Args:
        what: data set and model.
        changes: `section.field=value`.
    """
    name, left_out = what, 0
    for change in changes:
        if len(name) + len(change) < LONGEST:
            name = f"{name} {change}"
        else:
            left_out += 1
    return f"{name} +{left_out}" if left_out else name


def changes(base: BaseModel, changed: BaseModel) -> list[str]:
    """`section.field=value` of every field in which `changed` differs from `base`."""
    before = dict(_fields(base.model_dump(mode="json")))
    after = _fields(changed.model_dump(mode="json"))
    return [f"{path}={value}" for path, value in after if before.get(path, _ABSENT) != value]


_ABSENT = object()


def _fields(values: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _fields(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value
