"""Run one stage through the cache: a verified hit is returned, a miss is computed once."""

import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brmrs import keys
from brmrs.artifacts import Artifact, ArtifactStore, Record
from brmrs.config import PipelineConfig
from brmrs.errors import UserError
from brmrs.ingest.fingerprint import fingerprint as digests
from brmrs.stages import Stage, StageContext


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
        refresh: compute even on a hit.

    Raises:
        UserError: whatever the stage found wrong with its input; nothing is stored then.
    """
    parts = keys.parts(stage, config, fingerprint, upstream)
    key = keys.key(stage, parts)
    with store.lock(f"{stage.name}-{key}"):
        record = None if refresh else store.lookup(stage.name, key)
        if record is not None:
            return record
        started = time.perf_counter()
        with store.writing() as out:
            scratch = store.scratch(stage.name, key)
            scratch.mkdir(parents=True, exist_ok=True)
            inputs = inputs_of(stage, upstream, store)
            context = StageContext(config.only(stage.config), inputs, out, scratch)
            stage.load()(context)
            _refuse_changed(stage, config, fingerprint)
            artifact = store.commit(out, stage.name)
        seconds = round(time.perf_counter() - started, 3)
        record = Record(key, parts, artifact, run, seconds, context.measured)
        store.write_record(record)
        shutil.rmtree(scratch, ignore_errors=True)
        return record


def inputs_of(
    stage: Stage, upstream: Mapping[str, Artifact], store: ArtifactStore
) -> dict[str, Path]:
    """Where each file or folder lies that a stage reads, by its declared name."""
    return {read: store.path(upstream[read.partition("/")[0]], read) for read in stage.reads}


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
