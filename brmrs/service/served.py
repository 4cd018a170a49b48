"""The runs that a process answers from: the served one, which may move, and others beside it."""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from brmrs.errors import UserError, first_line
from brmrs.service import loaded
from brmrs.service.alike import Alike
from brmrs.service.limits import MOST_OTHER_RUNS, OTHERS_LOADED, POLL_SECONDS, RETRY_SECONDS
from brmrs.service.loaded import LoadedRun
from brmrs.service.problem import Problem, brief
from brmrs.serving import current
from brmrs.serving.current import FILE, NEEDED
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.runs import Run, find

LOG = logging.getLogger(__name__)
METRICS = ("recall@20", "ndcg@20")


@dataclass(frozen=True)
class Choice:
    """Which run to serve.

    Attributes:
        store: the artifact store.
        run: name of a run; None: the run that `current.json` names, also when it changes.
        data: name of the data set, where the store has several.
    """

    store: ArtifactStore
    run: str | None = None
    data: str | None = None

    def resolve(self) -> Run:
        """The run to serve now.

        Raises:
            UserError: there is none, or its model is missing or damaged.
        """
        if self.run is None:
            return current.serving(self.store, self.data)
        return current.resolve(self.store, self.run, *current.ANSWERING)


@dataclass(frozen=True)
class Answering:
    """A loaded run, and its similar items."""

    run: LoadedRun
    alike: Alike


@dataclass
class ServedRuns:
    """The runs in memory. `now` is replaced as a whole, so a request uses one run to its end.

    Attributes:
        choice: which run to serve.
        now: the served run.
        listed: the runs of the data set, newest first.
        promoted: name of the promoted run of the data set; None if there is none.
        problem: why the last change of the served run failed; empty if it did not.
        swaps: how often the served run was replaced.
    """

    choice: Choice
    now: Answering = field(init=False)
    listed: list[dict[str, Any]] = field(default_factory=list)
    promoted: str | None = None
    problem: str = ""
    swaps: int = 0
    _others: OrderedDict[str, Answering] = field(default_factory=OrderedDict)
    _loading: threading.Lock = field(default_factory=threading.Lock)  # held for seconds
    _memory: threading.Lock = field(default_factory=threading.Lock)  # of `_others`
    _seen: object = None
    _tried: float = 0.0
    _stop: threading.Event = field(default_factory=threading.Event)

    def load(self) -> None:
        """Load the served run.

        Raises:
            UserError: there is none, or it is damaged.
        """
        self._seen = self._signature()
        run = self.choice.resolve()
        others = self._list(run)
        self.now = _answering(loaded.load(self.choice.store, run, others=others))

    def watch(self) -> None:
        """Look for changes until `stop`, in a thread."""
        threading.Thread(target=self._watch, name="brmrs-watch", daemon=True).start()

    def stop(self) -> None:
        """End the watch."""
        self._stop.set()

    def in_memory(self, name: str | None) -> Answering | None:
        """The served run, or another run of the data set by its name; None if it is not loaded.

        Raises:
            Problem: there is no such run.
        """
        now = self.now
        if name is None or name == now.run.name:
            return now
        if name not in {row["run"] for row in self.listed}:
            raise Problem(404, f"no run {brief(name)}; GET /v1/status lists the runs")
        with self._memory:
            if name in self._others:
                self._others.move_to_end(name)
            return self._others.get(name)

    def get(self, name: str | None) -> Answering:
        """The served run, or another run of the data set by its name. May load it.

        Raises:
            Problem: there is no such run, or it cannot be loaded.
        """
        with self._loading:
            return self.in_memory(name) or self._load(str(name))

    def _load(self, name: str) -> Answering:
        with self._memory:
            while len(self._others) >= OTHERS_LOADED:
                self._others.popitem(last=False)
        store = self.choice.store
        try:
            run = find(store, name)
            found = _answering(loaded.load(store, run, others=[self.now.run.run], beside=True))
        except UserError as error:
            raise Problem(404, str(error)) from error
        with self._memory:
            if name != self.now.run.name:  # the watch may have loaded it meanwhile
                self._others[name] = found
        return found

    def _signature(self) -> object:
        """Changes when `current.json` or the set of runs does."""
        root = self.choice.store.root
        return [_stat(root / FILE), _stat(root / "runs")]

    def _watch(self) -> None:
        while not self._stop.wait(POLL_SECONDS):
            try:
                self.refresh()
            except Exception as error:  # the watch must outlive a store that cannot be read
                self.problem = first_line(error)
                LOG.exception("the served run could not be looked up; trying again")

    def refresh(self) -> None:
        """Load the run that is to be served now, if it is another one; a failure is tried again."""
        signature, now = self._signature(), time.monotonic()
        again = bool(self.problem) and now - self._tried > RETRY_SECONDS
        if signature == self._seen and not again:
            return
        self._seen, self._tried = signature, now
        try:
            run = self.choice.resolve()
            others = self._list(run)
            if run.name != self.now.run.name:
                self.now = _answering(loaded.load(self.choice.store, run, others=others))
                self.swaps += 1
                with self._memory:
                    self._others.pop(run.name, None)  # it would be in memory twice
                LOG.info("run %s is served from now on", run.name)
            self.problem = ""
        except UserError as error:
            self.problem = str(error)
            LOG.error("run %s is still served: %s", self.now.run.name, error)

    def _list(self, run: Run) -> list[Run]:
        """Update `listed` and `promoted`; the runs of the same data set, newest first."""
        store, data = self.choice.store, run.config["name"]
        runs = [each for each in _newest(store) if each.config["name"] == data]
        served = current.read(store).served.get(data, ())
        self.promoted = served[-1] if served else None
        self.listed = [_summary(each, store) for each in runs]
        return runs


def _answering(run: LoadedRun) -> Answering:
    threading.Thread(target=run.index, name="brmrs-index", daemon=True).start()
    return Answering(run, Alike(run))


def _newest(store: ArtifactStore) -> Iterator[Run]:
    """The newest runs that have a model. Damaged manifests are left out."""
    found = 0
    for path in sorted(store.below("runs"), reverse=True):
        if path.suffix != ".json" or found == MOST_OTHER_RUNS:
            continue
        try:
            run = find(store, path.stem)
        except UserError as error:
            LOG.warning("%s", error)
            continue
        if all(stage in run.stages for stage in NEEDED):
            found += 1
            yield run


def _summary(run: Run, store: ArtifactStore) -> dict[str, Any]:
    """A run as the status lists it."""
    try:
        test = run.metrics(store).get("test", {})
    except UserError:
        test = {}
    return {
        "run": run.name,
        "model": run.config["model"]["name"],
        "seed": run.config["train"]["seed"],
        "kind": run.kind,
        "note": run.config["note"],
        "metrics": {name: test[name] for name in METRICS if name in test},
    }


def _stat(path: Any) -> object:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
