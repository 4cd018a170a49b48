"""Which run is served: one small file in the store, replaced as a whole, with its own history.

Pointer and history are one file on purpose: there is no moment at which they could disagree.
"""

import time
from dataclasses import dataclass
from typing import Any

from brmrs.errors import UserError
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.runs import Run, find, latest, sound
from brmrs.system.files import read_json, write_json

FILE = "current.json"
LOCK = "current"  # of the store, around what reads and replaces the file
PROMOTED, NOT_PROMOTED, ROLLED_BACK = "promoted", "not promoted", "rolled back"

# SHA-256 of dump files, sorted, each once, by field of the configuration ("ingest.reviews").
Contents = dict[str, list[str]]


@dataclass(frozen=True)
class Verdict:
    """Whether a retrained run is to be served.

    Attributes:
        promoted: whether it is.
        reason: in words.
        comparison: the numbers (see `brmrs.serving.promotion.Comparison`); None where there was
            nothing to compare with.
    """

    promoted: bool
    reason: str
    comparison: dict[str, Any] | None = None


@dataclass(frozen=True)
class Decision:
    """One line of the history.

    Attributes:
        action: `PROMOTED`, `NOT_PROMOTED` or `ROLLED_BACK`.
        run: the run it is about; of a roll-back the one that is served again.
        reason: in words.
        contents: the dump files that the run was trained on; None for a roll-back.
        comparison: see `Verdict`.
        time: UTC.
    """

    action: str
    run: str
    reason: str
    contents: Contents | None
    comparison: dict[str, Any] | None
    time: str


@dataclass(frozen=True)
class Promotions:
    """The content of the file.

    Attributes:
        served: names of the runs that were served one after the other; the last one is. What was
            rolled back is not among them.
        history: every decision, oldest first.
    """

    served: tuple[str, ...] = ()
    history: tuple[Decision, ...] = ()

    @property
    def digests(self) -> set[str]:
        """Of all dump files that were ever trained on."""
        trained_on = (past.contents or {} for past in self.history)
        return {digest for each in trained_on for digests in each.values() for digest in digests}

    @property
    def trained_on(self) -> Contents | None:
        """The dump files of the last retraining, promoted or not; None before the first."""
        return next((past.contents for past in reversed(self.history) if past.contents), None)


def read(store: ArtifactStore) -> Promotions:
    """What is served, and how it came to be; empty before the first promotion.

    Raises:
        UserError: the file is damaged.
    """
    path = store.root / FILE
    try:
        values = read_json(path)
        history = tuple(Decision(**past) for past in values["history"])
        return Promotions(tuple(values["served"]), history)
    except FileNotFoundError:
        return Promotions()
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{path}: not what brmrs wrote ({error}); remove it, and the latest run is served"
        ) from error


def conclude(store: ArtifactStore, run: str, verdict: Verdict, contents: Contents) -> None:
    """Note a verdict; a run that is promoted is served from now on.

    Args:
        store: where runs and artifacts lie.
        run: the retrained run.
        verdict: what came of comparing it with the served one.
        contents: the dump files that it was trained on.
    """
    action = PROMOTED if verdict.promoted else NOT_PROMOTED
    decision = Decision(action, run, verdict.reason, contents, verdict.comparison, _now())
    with store.lock(LOCK):
        past = read(store)
        served = (*past.served, run) if verdict.promoted else past.served
        _write(store, served, (*past.history, decision))


def roll_back(store: ArtifactStore) -> Run:
    """Serve the run that was served before the current one.

    Raises:
        UserError: there is none, or its model is missing or damaged.
    """
    with store.lock(LOCK):
        past = read(store)
        if len(past.served) < 2:
            raise UserError("rollback: no earlier promoted run; `brmrs current` lists them")
        *_, previous, current = past.served
        run = sound(find(store, previous), store, "ingest", "train")
        reason = f"instead of {current}"
        decision = Decision(ROLLED_BACK, previous, reason, None, None, _now())
        _write(store, past.served[:-1], (*past.history, decision))
    return run


def of_data_set(store: ArtifactStore, name: str) -> Run | None:
    """The run that was promoted last; None where nothing was.

    Raises:
        UserError: it is of another data set than this one (the models of two have no common
            ground), or its manifest is gone.
    """
    served = read(store).served
    if not served:
        return None
    run = find(store, served[-1])
    if run.config["name"] != name:
        raise UserError(
            f"{store.root} serves {run.config['name']}, and this is {name}; give each data set "
            "artifacts of its own"
        )
    return run


def serving(store: ArtifactStore) -> Run:
    """The run that answers: the promoted one, or the latest where nothing was promoted.

    Raises:
        UserError: there is none, or its model is missing or damaged.
    """
    served = read(store).served
    if served:
        return sound(find(store, served[-1]), store, "ingest", "train")
    return latest(store, "publish")


def _write(store: ArtifactStore, served: tuple[str, ...], history: tuple[Decision, ...]) -> None:
    values = {"served": served, "history": [vars(decision) for decision in history]}
    write_json(store.root / FILE, values)


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
