"""A run against the previous one of its data set."""

from dataclasses import dataclass
from typing import Any

from brmrs.columns import TEST
from brmrs.errors import UserError
from brmrs.experiments.compare_runs import compare_runs
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.lineage import difference
from brmrs.store.runs import DIAGNOSIS, Run, all_runs

MOST_CHANGES = 12  # that are listed


@dataclass(frozen=True)
class Previous:
    """The comparison with the previous run.

    Attributes:
        run: the newest earlier evaluated run of the same data set; None without one.
        same: whether both have the same results, byte for byte.
        compared: from `compare_runs`, the previous run first; None if there is nothing to compare.
        refused: why the runs cannot be compared; "" if they can.
        changes: what differs between the runs, as text.
        more: how many differences are not in `changes`.
    """

    run: Run | None = None
    same: bool = False
    compared: dict[str, Any] | None = None
    refused: str = ""
    changes: tuple[str, ...] = ()
    more: int = 0


def against_previous(run: Run, store: ArtifactStore) -> Previous:
    """Compare an evaluated run with the previous one. A fault of the other run is described."""
    try:
        earlier = previous(run, store)
    except UserError as error:  # the manifest of another run is damaged
        return Previous(refused=str(error))
    if earlier is None:
        return Previous()
    compared, refused = None, ""
    same = run.artifact("evaluate").digest == earlier.artifact("evaluate").digest
    try:
        listed, more = changes(earlier, run, store)
        if not same:
            compared = compare_runs([earlier, run], store, TEST)
    except UserError as error:
        listed, more, refused = [], 0, str(error)
    return Previous(earlier, same, compared, refused, tuple(listed), more)


def previous(run: Run, store: ArtifactStore) -> Run | None:
    """The newest earlier evaluated run of the same data set; None without one.

    Raises:
        UserError: the manifest of a run is damaged.
    """
    for other in all_runs(store):
        same = other.config["name"] == run.config["name"] and other.kind != DIAGNOSIS
        if other.name < run.name and same and "evaluate" in other.stages:
            return other
    return None


def changes(old: Run, new: Run, store: ArtifactStore) -> tuple[list[str], int]:
    """What differs between two runs, as text; and how many differences are left out."""
    found = difference(old, new, store)
    lines = [
        f"{name}: {_text(before)} → {_text(after)}"
        for name, (before, after) in found["configuration"].items()
    ]
    for kind in ("input", "code", "libraries"):
        lines += [f"{kind}: {name}" for name in found[kind]]
    return lines[:MOST_CHANGES], max(0, len(lines) - MOST_CHANGES)


def _text(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
