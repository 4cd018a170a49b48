"""Run one stage through the cache: a verified hit is returned, a miss is computed once."""

import contextlib
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from brmrs.config.pipeline import PipelineConfig
from brmrs.errors import StageError, UserError, os_fault
from brmrs.stages import Stage, StageContext
from brmrs.store import keys
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.fingerprint import fingerprint as digests
from brmrs.store.records import Artifact, Record
from brmrs.store.shared.artifacts import turn
from brmrs.system import machine


def execute(
    stage: Stage,
    config: PipelineConfig,
    fingerprint: Mapping[str, Mapping[str, Any]],
    upstream: Mapping[str, Artifact],
    store: ArtifactStore,
    run: str,
    *,
    refresh: bool = False,
) -> Record:
    """The record of a stage's artifact, from the store or the shared address, or computed now.

    If several processes need the same key, one computes it, and the others wait for its artifact.
    The same holds for several machines with one shared address (`store.shared`).

    Args:
        stage: the stage.
        config: the whole configuration.
        fingerprint: digests of the input files (see `brmrs.store.fingerprint`).
        upstream: artifacts of the stages it reads from.
        store: the artifact store.
        run: name of this run; the record keeps the name of the run that computed it.
        refresh: compute even on a hit, and remove the stage's scratch and cache first.

    Raises:
        UserError: the stage found a fault in its input, or the operating system refused a file;
            nothing is stored.
        StageError: the stage failed for another reason; nothing is stored.
    """
    parts = keys.parts(stage, config, fingerprint, upstream)
    key = keys.key(stage, parts)
    log = store.root / "failures" / f"{run}-{stage.name}.log"
    with _errors_named(stage, parts, log), store.lock(f"{stage.name}/{key}"):
        record = None if refresh else store.lookup(stage.name, key, run)
        if record is not None:
            return record
        address = config.store.shared
        with turn(address, store, stage.name, key, f"run {run}", refresh=refresh) as mine:
            if mine.found:
                return mine.found
            record = _compute(
                stage, config, fingerprint, upstream, store, run, parts, refresh=refresh
            )
            mine.publish(record)
        return record


def _compute(
    stage: Stage,
    config: PipelineConfig,
    fingerprint: Mapping[str, Mapping[str, Any]],
    upstream: Mapping[str, Artifact],
    store: ArtifactStore,
    run: str,
    parts: keys.Parts,
    *,
    refresh: bool,
) -> Record:
    """Run the stage, and store its artifact and record; arguments as of `execute`."""
    key = keys.key(stage, parts)
    started = time.perf_counter()
    with store.writing(stage.name) as out:
        scratch, stage_cache = store.scratch(stage.name, key), store.stage_cache(stage.name)
        if refresh:
            store.discard(scratch)
            store.discard(stage_cache)
        scratch.mkdir(parents=True, exist_ok=True)
        context = StageContext(
            config.only(stage.config),
            inputs_of(stage, upstream, store),
            out,
            scratch,
            stage_cache,
        )
        with machine.peak_memory() as memory:
            stage.load()(context)
        _refuse_changed(stage, config, fingerprint)
        artifact = store.commit(out, stage.name)
    seconds = round(time.perf_counter() - started, 3)
    record = Record(
        key, parts, artifact, run, seconds, memory.bytes, machine.describe(), context.notes
    )
    store.write_record(record)
    if artifact.complete:
        store.discard(scratch)
    return record


def inputs_of(
    stage: Stage, upstream: Mapping[str, Artifact], store: ArtifactStore
) -> dict[str, Path]:
    """Path of each file or folder that a stage reads, by declared name."""
    return {read: store.path(upstream[read.partition("/")[0]], read) for read in stage.reads}


@contextmanager
def _errors_named(stage: Stage, parts: keys.Parts, log: Path) -> Iterator[None]:
    """Name the stage, its inputs and a log with the traceback in the error of a failed stage."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        fault = os_fault(error)
        if fault:
            raise UserError(f"{stage.name}: {fault}") from error
        with contextlib.suppress(OSError):  # without a log, the message remains
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_text(traceback.format_exc(), encoding="utf-8")
        read = ", ".join(f"{name} {digest[:12]}" for name, digest in parts["input"].items())
        first = str(error).partition("\n")[0]
        raise StageError(
            f"{stage.name} failed: {type(error).__name__}: {first}; it read {read}; see {log}"
        ) from error


def _refuse_changed(
    stage: Stage, config: PipelineConfig, fingerprint: Mapping[str, Mapping[str, Any]]
) -> None:
    """Raise a UserError if an input file changed since the key was computed."""
    for name, entry in digests(config, stage.external).items():
        if entry["sha256"] != fingerprint[name]["sha256"]:
            raise UserError(
                f"{stage.name}: the {name.replace('_', ' ')} changed while it was read; run again "
                "when it is at rest"
            )
