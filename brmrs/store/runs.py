"""Manifests of runs: what ran, what was cached, and where the results are."""

import uuid
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Field, StringConstraints, TypeAdapter
from pydantic.dataclasses import dataclass
from typing_extensions import TypedDict

from brmrs.errors import UserError
from brmrs.stages import GRAPHS, STAGES
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.graphs import recalls
from brmrs.store.records import Artifact, Record
from brmrs.suggest import did_you_mean, instead, nearest
from brmrs.system import machine, untrusted
from brmrs.system.files import write_json
from brmrs.system.untrusted import Digest, Name

MOMENT = "%Y%m%d-%H%M%S-%f"  # in the names of runs, of which the last three digits are left out
EVALUATION = "evaluate/metrics.json"
REPORTS = "reports"  # folder of the store with a page per run
# The command that made a run. A benchmark and a search leave one run for each training.
Kind = Literal["run", "retrain", "benchmark", "tune", "diagnosis"]
LATEST = "latest"  # the alias of the newest run
SERVED, PREVIOUS = "served", "previous"  # further aliases (see `brmrs.serving.current.resolve`)
# With other features than the user's, to compare with: neither the latest nor the previous run.
DIAGNOSIS: Kind = "diagnosis"

_OPEN = ConfigDict(extra="allow")  # later versions may add fields
_MetricName = Annotated[str, StringConstraints(pattern=r"^[^@\s]{1,100}@[1-9][0-9]{0,8}\z")]
Metrics = dict[_MetricName, float]  # such as "recall@20"


class _Named(TypedDict):
    __pydantic_config__ = _OPEN  # type: ignore[misc]
    name: str


class _Seeded(TypedDict):
    __pydantic_config__ = _OPEN  # type: ignore[misc]
    seed: int


class _Config(TypedDict):
    """The fields of a run's configuration that are read; every version has them."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]
    name: Name
    note: str
    model: _Named
    train: _Seeded


class _File(TypedDict):
    __pydantic_config__ = _OPEN  # type: ignore[misc]
    name: str
    sha256: Digest
    bytes: Annotated[int, Field(ge=0)]


class _Entry(TypedDict):
    """An entry of the fingerprint (see `brmrs.store.fingerprint`)."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]
    sha256: Digest
    files: list[_File]


class _Feature(TypedDict):
    __pydantic_config__ = _OPEN  # type: ignore[misc]
    label: str
    present: int
    items: int


class Evaluation(TypedDict):
    """The fields of `metrics.json` of the stage `evaluate` that are read."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]
    model: str
    validation: Metrics
    test: Metrics
    baseline: dict[str, dict[str, Metrics]]
    users: dict[str, int]
    features: dict[str, _Feature]
    coverage: dict[str, Any]
    # By branch, split and metric: low and high. Absent in runs of earlier versions.
    intervals: NotRequired[dict[str, dict[str, dict[_MetricName, tuple[float, float]]]]]
    ranking: NotRequired[str]  # absent in runs of earlier versions, which ranked all items


@dataclass(frozen=True, config=ConfigDict(allow_inf_nan=False, revalidate_instances="never"))
class Run:
    """A run, as far as it got.

    Attributes:
        name: sorts by time of start.
        config: the configuration it ran, as JSON values, which may be of an older version.
        fingerprint: digests of the input files that it started from.
        stages: the record of each finished stage, in order.
        seconds: wall time of the whole.
        machine: what it ran on, and the most memory its process held.
        kind: the command that made it.
        failed: the message of the first stage that failed; empty if none did.
    """

    name: Name
    config: dict[str, Any]
    fingerprint: dict[str, Any]
    stages: dict[Name, Record]
    seconds: Annotated[float, Field(ge=0)]
    machine: dict[str, Any]
    kind: Kind = "run"
    failed: str = ""

    def artifact(self, stage: str) -> Artifact:
        """The artifact of a stage.

        Raises:
            UserError: the run stopped before that stage, or its command does not run that stage.
        """
        if stage not in self.stages:
            raise UserError(f"{self.without(stage)}; run the pipeline to its end")
        return self.stages[stage].artifact

    def without(self, stage: str) -> str:
        """Why the run lacks a stage: benchmarks and searches end with `evaluate` or before."""
        if self.kind in ("run", "retrain"):
            return f"run {self.name} did not reach {stage}"
        return f"run {self.name} is a {self.kind} run and has no {stage} stage"

    def summary(self, store: ArtifactStore) -> dict[str, Any]:
        """The run as `--json` gives it: stages and, if evaluated, metrics."""
        evaluation = self.evaluation(store)
        return {
            "run": self.name,
            "kind": self.kind,
            "failed": self.failed,
            "name": self.config["name"],
            "note": self.config["note"],
            "model": self.config["model"]["name"],
            "seed": self.config["train"]["seed"],
            "seconds": self.seconds,
            "stages": [self._stage(record, store) for record in self.stages.values()],
            "metrics": self.metrics(store),
            "coverage": evaluation["coverage"] if evaluation else {},
            "recall_of_exact": self.recall_of_exact(store),
            "report": str(page) if (page := self.report(store)).is_file() else None,
        }

    def report(self, store: ArtifactStore) -> Path:
        """The file of its report (see `brmrs.report.run_page`), which may be missing."""
        return store.root / REPORTS / f"{self.name}.html"

    def metrics(self, store: ArtifactStore) -> dict[str, Metrics]:
        """Validation and test metrics of the fused branch; empty if not evaluated or collected."""
        found = self.evaluation(store)
        return {"validation": found["validation"], "test": found["test"]} if found else {}

    def evaluation(self, store: ArtifactStore) -> Evaluation | None:
        """The output of the stage `evaluate`; None if it did not run or its artifact was removed.

        Raises:
            UserError: the file is damaged.
        """
        if "evaluate" not in self.stages:
            return None
        return read_evaluation(store.path(self.artifact("evaluate"), EVALUATION))

    def recall_of_exact(self, store: ArtifactStore) -> dict[str, float]:
        """The share of the exact neighbours that approximate graphs have, by graph."""
        if "graphs" not in self.stages:
            return {}
        return recalls(store.path(self.artifact("graphs"), GRAPHS))

    def _stage(self, record: Record, store: ArtifactStore) -> dict[str, Any]:
        ran = record.run == self.name
        return {
            "name": record.artifact.stage,
            "state": "ran" if ran else "cached",
            "seconds": record.seconds if ran else 0.0,
            "peak_memory_bytes": record.peak_memory_bytes if ran else 0,
            "digest": record.artifact.digest,
            "path": str(store.path(record.artifact)),
            "bytes": record.artifact.bytes,
            **({"rows": record.notes["rows"]} if ran and "rows" in record.notes else {}),
        }


@dataclass(frozen=True, config=ConfigDict(allow_inf_nan=False))
class _Manifest(Run):
    """A run that was read from a store. Every field that is used is validated."""

    config: _Config  # type: ignore[assignment]
    fingerprint: dict[str, _Entry]


_MANIFEST = TypeAdapter(_Manifest)
_EVALUATION = TypeAdapter(Evaluation)


def read_evaluation(path: Path) -> Evaluation | None:
    """The content of `metrics.json`; None if there is no such file.

    Raises:
        UserError: the file is damaged.
    """
    try:
        return untrusted.read(path, _EVALUATION)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UserError(f"{path}: no metrics of a run ({error}); run the pipeline again") from error


def new_name(store: ArtifactStore) -> str:
    """A name for a run: time of start (UTC) and a random tail. It sorts after all others.

    If the clock was set back, the time is 1 ms after that of the newest run.

    Raises:
        UserError: no time is later than that of the newest run.
    """
    now = datetime.now(UTC)
    newest = max((path.stem for path in _folder(store).glob("*.json")), default="")
    try:
        last = datetime.strptime(newest[: len(_moment(now))], MOMENT).replace(tzinfo=UTC)
        now = max(now, last + timedelta(milliseconds=1))
    except OverflowError as error:
        raise UserError(
            f"{_folder(store) / newest}.json: no run can be named later than this; remove it"
        ) from error
    except ValueError:  # a name that brmrs did not generate
        pass
    return f"{_moment(now)}-{uuid.uuid4().hex[:4]}"


def _moment(time: datetime) -> str:
    """To the millisecond."""
    return time.strftime(MOMENT)[:-3]


def save(run: Run, store: ArtifactStore) -> None:
    """Write the run's manifest."""
    manifest = {
        **vars(run),
        "stages": {name: record.to_json() for name, record in run.stages.items()},
    }
    write_json(_folder(store) / f"{run.name}.json", manifest, durable=True)


def this_machine() -> dict[str, Any]:
    """This machine, and the peak memory of this process."""
    return {**machine.describe(), "peak_memory_bytes": machine.high_water()}


def all_runs(store: ArtifactStore) -> Iterator[Run]:
    """The runs under a store, newest first. Their artifacts may have been removed.

    Raises:
        UserError: a manifest is damaged or renamed.
    """
    for path in sorted(_folder(store).glob("*.json"), reverse=True):
        yield _read(path)


def find(store: ArtifactStore, name: str, *stages: str) -> Run:
    """The run of that name, or the only one whose name begins or ends so; `LATEST`: see `latest`.

    Args:
        store: the artifact store.
        name: the name or the alias.
        stages: that the latest run must have; a run that is named may lack them.

    Raises:
        UserError: there is none, or several, or its manifest is damaged or renamed.
    """
    if name == LATEST:
        return latest(store, *stages)
    paths = sorted(_folder(store).glob("*.json"))
    alike = [path for path in paths if path.stem.startswith(name) or path.stem.endswith(name)]
    found = [path for path in alike if path.stem == name] or alike
    if not found:
        names = (LATEST, SERVED, PREVIOUS, *(path.stem for path in paths))
        hint = did_you_mean(nearest(name, names))
        advice = instead(store.root, "`brmrs runs` lists them")
        raise UserError(f"run {name}: none of that name under {store.root}{hint or ';'} {advice}")
    if len(found) > 1:
        known = ", ".join(path.stem for path in found[:5])
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        raise UserError(f"run {name}: {known}{more}; `brmrs runs` lists them")
    return _read(found[0])


def latest(store: ArtifactStore, *stages: str, data: str | None = None) -> Run:
    """The newest run that got to these stages; their artifacts verify.

    Runs that `brmrs diagnose --retrain` made do not count.

    Args:
        store: the artifact store.
        stages: names of stages.
        data: name of the data set; None: of any.

    Raises:
        UserError: there is none, or an artifact of it is missing or damaged. There is no fallback
            to an older run.
    """
    for run in _candidates(store, data):
        if all(stage in run.stages for stage in stages):
            return sound(run, store, *stages)
    of_data = f"of {data} " if data else ""
    lacking = f" with the stage {', '.join(stages)}" if stages else ""
    names = {run.config["name"] for run in _candidates(store)} - {data}
    hint = did_you_mean(nearest(data, sorted(names))) if data else ""
    advice = instead(store.root, "run `brmrs run -c FILE`")
    raise UserError(f"no finished run {of_data}under {store.root}{lacking}{hint or ';'} {advice}")


def newer(store: ArtifactStore, than: Run) -> list[Run]:
    """The runs that are newer than this one, without those that `latest` ignores."""
    return [run for run in _candidates(store) if run.name > than.name]


def reached(run: Run, store: ArtifactStore, *stages: str, command: str = "") -> Run:
    """The run itself, if it has these stages.

    Args:
        run: the run.
        store: with other runs, of which the error names one.
        stages: names of stages.
        command: for the error, what to type before the name of that run; "": the name alone.

    Raises:
        UserError: it lacks one; the message names the newest run of the data set that has all.
    """
    missing = [stage for stage in stages if stage not in run.stages]
    if not missing:
        return run
    data = run.config["name"]
    others = (each for each in _candidates(store, data) if all(x in each.stages for x in stages))
    if other := next(others, None):
        advice = f"the newest run of {data} that has it is {other.name}"
        advice += f": {command} {other.name}" if command else ""
    else:
        advice = "run `brmrs run -c FILE` to its end"
    raise UserError(f"{run.without(missing[0])}; {advice}")


def sound(run: Run, store: ArtifactStore, *stages: str) -> Run:
    """The run itself, once the artifacts of these stages verify.

    Raises:
        UserError: it did not get to one of them, or an artifact is missing or damaged.
    """
    for stage in stages:
        if not store.verify(reached(run, store, *stages).artifact(stage)):
            raise UserError(
                f"{stage} of run {run.name} is missing or damaged; run the pipeline again"
            )
    return run


def _candidates(store: ArtifactStore, data: str | None = None) -> Iterator[Run]:
    """Runs of a data set that a user asked for, newest first; None: of any data set."""
    for run in all_runs(store):
        if run.kind != DIAGNOSIS and data in (None, run.config["name"]):
            yield run


def _in_order(stages: Iterable[str]) -> list[str]:
    """In the order of declaration, which is that of execution; manifests sort by name."""
    declared = {stage.name: place for place, stage in enumerate(STAGES)}
    return sorted(stages, key=lambda name: declared.get(name, len(declared)))


def _folder(store: ArtifactStore) -> Path:
    return store.root / "runs"


def _read(path: Path) -> Run:
    try:
        found = untrusted.read(path, _MANIFEST)
    except (FileNotFoundError, IsADirectoryError, ValueError) as error:
        raise UserError(f"{path}: no manifest of a run ({error}); remove it") from error
    if found.name != path.stem:
        raise UserError(
            f"{path}: it is the manifest of run {found.name}; name it {found.name}.json"
        )
    stages = {name: found.stages[name] for name in _in_order(found.stages)}
    return Run(**{**vars(found), "stages": stages})
