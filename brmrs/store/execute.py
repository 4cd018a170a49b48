"""Run one stage through the cache: a verified hit is returned, a miss is computed once."""

import contextlib
import shutil
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from brmrs.config.pipeline import PipelineConfig
from brmrs.errors import StageError, UserError, disk_fault
from brmrs.stages import Stage, StageContext
from brmrs.store import keys
from brmrs.store.artifacts import Artifact, ArtifactStore, Record
from brmrs.store.fingerprint import fingerprint as digests
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
    """The record of a stage's artifact, from the store or made now.

    One process computes while others that want the same key wait and then take its artifact.

    Args:
        stage: the stage.
        config: the whole configuration.
        fingerprint: digests of the bytes from outside.
        upstream: artifacts of the stages it reads from.
        store: where artifacts lie.
        run: name of this run; the record keeps the name of the run that computed.
        refresh: compute even on a hit, from nothing: what the stage kept goes.

    Raises:
        UserError: whatever the stage found wrong with its input; nothing is stored then.
        StageError: the stage failed otherwise; nothing is stored then, either.
    """
    parts = keys.parts(stage, config, fingerprint, upstream)
    key = keys.key(stage, parts)
    log = store.root / "failures" / f"{run}-{stage.name}.log"
    with _told(stage, parts, log), store.lock(f"{stage.name}/{key}"):
        record = None if refresh else store.lookup(stage.name, key, run)
        if record is not None:
            return record
        started = time.perf_counter()
        with store.writing() as out:
            scratch, stage_cache = store.scratch(stage.name, key), store.stage_cache(stage.name)
            if refresh:
                shutil.rmtree(scratch, ignore_errors=True)
                shutil.rmtree(stage_cache, ignore_errors=True)
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
            shutil.rmtree(scratch, ignore_errors=True)
        return record


def inputs_of(
    stage: Stage, upstream: Mapping[str, Artifact], store: ArtifactStore
) -> dict[str, Path]:
    """Where each file or folder lies that a stage reads, by its declared name."""
    return {read: store.path(upstream[read.partition("/")[0]], read) for read in stage.reads}


@contextmanager
def _told(stage: Stage, parts: keys.Parts, log: Path) -> Iterator[None]:
    """What fails inside names the stage, what it read, and the file that says where it failed."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        refused = disk_fault(error)
        if refused:
            raise UserError(f"{stage.name}: {refused}") from error
        with contextlib.suppress(OSError):  # without a log, there is still the message
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
    """What was read must be what the key says: a dump may be replaced while it is read."""
    for name, entry in digests(config, stage.external).items():
        if entry["sha256"] != fingerprint[name]["sha256"]:
            raise UserError(
                f"{stage.name}: the {name.replace('_', ' ')} changed while it was read; run again "
                "when it is at rest"
            )
