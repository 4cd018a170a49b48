"""The served run of each data set, in one small file of the store that is replaced atomically.

The file holds the served runs and their history, so the two are always consistent.
"""

import time
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter
from pydantic.dataclasses import dataclass

from brmrs.errors import UserError
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.runs import PREVIOUS, SERVED, Run, all_runs, find, latest, sound
from brmrs.system import untrusted
from brmrs.system.files import write_json
from brmrs.system.untrusted import Name

FILE = "current.json"
LOCK = "current"  # of the store, held while the file is read and replaced
Action = Literal["promoted", "not promoted", "rolled back"]
PROMOTED: Action = "promoted"
NOT_PROMOTED: Action = "not promoted"
ROLLED_BACK: Action = "rolled back"
NEEDED = ("ingest", "train")  # stages whose artifacts are needed to recommend
# Stages of the run that answers if none was promoted or named: no run of a benchmark or a search.
ANSWERING = ("publish",)

_SCHEMA = ConfigDict(allow_inf_nan=False)

# SHA-256 of dump files, sorted, each once, by field of the configuration ("ingest.reviews").
Contents = dict[str, list[str]]


@dataclass(frozen=True, config=_SCHEMA)
class Verdict:
    """Whether a retrained run is to be served.

    Attributes:
        promoted: whether it is.
        reason: a text.
        comparison: the numbers behind it; None where there was nothing to compare with.
        state: its name (see `brmrs.serving.promotion`).
    """

    promoted: bool
    reason: str
    comparison: dict[str, Any] | None = None
    state: str = ""


@dataclass(frozen=True, config=_SCHEMA)
class Decision:
    """One line of the history.

    Attributes:
        action: `PROMOTED`, `NOT_PROMOTED` or `ROLLED_BACK`.
        run: the run that was judged; for a roll-back, the run that is served again.
        reason: a text.
        contents: the dump files that the run was trained on; None without a retraining.
        comparison: see `Verdict`.
        time: UTC.
        data: name of the data set; None in files of an earlier version.
        state: see `Verdict`.
    """

    action: Action
    run: Name
    reason: str
    contents: Contents | None
    comparison: dict[str, Any] | None
    time: str
    data: Name | None = None
    state: str = ""


@dataclass(frozen=True, config=_SCHEMA)
class Promotions:
    """The content of the file.

    Attributes:
        served: by data set, the names of the runs that were served, in order; the last one is
            served now. A run that was rolled back is not among them.
        history: every decision, oldest first.
    """

    served: dict[Name, Annotated[tuple[Name, ...], Field(min_length=1)]]
    history: tuple[Decision, ...] = ()

    def digests(self, data: str) -> set[str]:
        """Digests of all dump files that any run of a data set was trained on."""
        files = (past.contents or {} for past in self._of(data))
        return {digest for each in files for digests in each.values() for digest in digests}

    def trained_on(self, data: str) -> Contents | None:
        """The dump files of a data set's last retraining; None before the first."""
        return next((past.contents for past in reversed(self._of(data)) if past.contents), None)

    @property
    def pinned(self) -> set[str]:
        """Runs that garbage collection keeps: those served, and those before them."""
        return {run for served in self.served.values() for run in served[-2:]}

    def _of(self, data: str) -> list[Decision]:
        return [past for past in self.history if past.data in (data, None)]


@dataclass(frozen=True, config=_SCHEMA)
class _OneDataSet:
    """The old format of the file, from when a store served one data set."""

    served: tuple[Name, ...]
    history: tuple[Decision, ...]


_FILE: TypeAdapter[Promotions | _OneDataSet] = TypeAdapter(Promotions | _OneDataSet)


def read(store: ArtifactStore) -> Promotions:
    """The served runs and their history; empty before the first promotion.

    Raises:
        UserError: the file is damaged.
    """
    path = store.root / FILE
    try:
        found = untrusted.read(path, _FILE)
    except FileNotFoundError:
        return Promotions({})
    except (IsADirectoryError, ValueError) as error:
        raise UserError(
            f"{path}: not a file that brmrs wrote ({error}); remove it and use `brmrs promote`"
        ) from error
    if isinstance(found, Promotions):
        return found
    if not found.served:
        return Promotions({}, found.history)
    data = find(store, found.served[-1]).config["name"]
    history = tuple(replace(past, data=data) for past in found.history)
    return Promotions({data: found.served}, history)


def conclude(store: ArtifactStore, run: Run, verdict: Verdict, contents: Contents | None) -> None:
    """Record a verdict; a promoted run is served from now on.

    Args:
        store: the artifact store.
        run: the run.
        verdict: whether to serve it, and why.
        contents: the dump files that it was trained on; None where that is not known.
    """
    with store.lock(LOCK):
        _conclude(store, run, verdict, contents)


def promote(store: ArtifactStore, name: str) -> Run:
    """Serve a run by the user's decision: no comparison is made.

    Args:
        store: the artifact store.
        name: see `resolve`.

    Returns:
        The run.

    Raises:
        UserError: there is no such run, it has no model, or the model is missing or damaged.
    """
    with store.lock(LOCK):  # garbage collection holds it too, so the run cannot be removed
        run = sound(resolve(store, name, *ANSWERING), store, *NEEDED)
        _conclude(store, run, Verdict(True, "by `brmrs promote`", state="by hand"), None)
    return run


def roll_back(store: ArtifactStore, data: str | None = None) -> Run:
    """Serve the run that was served before the current one.

    Args:
        store: the artifact store.
        data: name of the data set; None: the only one that is served.

    Raises:
        UserError: there is none, or its model is missing or damaged.
    """
    with store.lock(LOCK):
        past = read(store)
        data = _chosen(data, set(past.served), store)
        served = past.served.get(data, ())
        if len(served) < 2:
            raise UserError("rollback: no earlier promoted run; `brmrs current` lists them")
        *_, previous, current = served
        run = sound(find(store, previous), store, *NEEDED)
        reason = f"instead of {current}; `brmrs promote {current}` serves it again"
        decision = Decision(ROLLED_BACK, previous, reason, None, None, _now(), data)
        _write(store, past, data, served[:-1], decision)
    return run


def of_data_set(store: ArtifactStore, name: str) -> Run | None:
    """The promoted run of a data set; None where none was promoted.

    Raises:
        UserError: its manifest is missing or damaged.
    """
    served = read(store).served.get(name)
    return find(store, served[-1]) if served else None


def serving(store: ArtifactStore, data: str | None = None) -> Run:
    """The run to recommend with: the promoted one, or the latest if none was promoted.

    Args:
        store: the artifact store.
        data: name of the data set; None: the only one in the store.

    Raises:
        UserError: there is no run, there are several data sets to choose from, or the model is
            missing or damaged.
    """
    served = read(store).served
    if data is None:
        finished = {
            run.config["name"] for run in all_runs(store) if set(ANSWERING) <= set(run.stages)
        }
        data = _chosen(None, finished | set(served), store)
    if data in served:
        return sound(find(store, served[data][-1]), store, *NEEDED)
    return latest(store, *ANSWERING, data=data or None)


def resolve(store: ArtifactStore, name: str, *stages: str) -> Run:
    """A run by its name, by the beginning or end of it, or by an alias.

    Args:
        store: the artifact store.
        name: see `brmrs.store.runs.find`; or "served", "previous" (which `rollback` returns to),
            with "@DATA" behind it where the store serves several data sets.
        stages: that "latest" must have, so what a command cannot use is not the latest for it.

    Raises:
        UserError: there is no such run, or several.
    """
    alias, _, data = name.partition("@")
    if alias not in (SERVED, PREVIOUS):
        return find(store, name, *stages)
    past = read(store).served
    runs = past.get(_chosen(data or None, set(past), store), ())
    place = 1 if alias == SERVED else 2
    if len(runs) < place:
        raise UserError(f"run {name}: there is none; `brmrs current` lists the served runs")
    return find(store, runs[-place])


def _chosen(data: str | None, known: set[str], store: ArtifactStore) -> str:
    """The selected data set; "" if none is named and the store has none.

    Raises:
        UserError: none is named, and there are several.
    """
    if data is None and len(known) > 1:
        names = ", ".join(sorted(known))
        raise UserError(f"{store.root} has runs of several data sets ({names}); choose by --data")
    return data or next(iter(known), "")


def _conclude(store: ArtifactStore, run: Run, verdict: Verdict, contents: Contents | None) -> None:
    """See `conclude`; the caller holds the lock."""
    data = run.config["name"]
    decision = Decision(
        PROMOTED if verdict.promoted else NOT_PROMOTED,
        run.name,
        verdict.reason,
        contents,
        verdict.comparison,
        _now(),
        data,
        verdict.state,
    )
    past = read(store)
    served = past.served.get(data, ())
    if verdict.promoted:
        served = (*(name for name in served if name != run.name), run.name)
    _write(store, past, data, served, decision)


def _write(
    store: ArtifactStore,
    past: Promotions,
    data: str,
    served: tuple[str, ...],
    decision: Decision,
) -> None:
    by_data = {**past.served, data: served} if served else past.served
    history = [vars(each) for each in (*past.history, decision)]
    write_json(store.root / FILE, {"served": by_data, "history": history}, durable=True)


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
