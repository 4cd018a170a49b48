"""The Prefect task of a stage, cached only by the store.

Prefect gets a key from the cache policy and the record of that key from its key storage. Both use
`brmrs.store.artifacts.ArtifactStore`, so a hit requires an artifact that verifies. The results that
Prefect reads are written from the store, so they are never stale.

A result is the record as JSON *text*, one string. Prefect's JSON decoder imports and calls the name
in any object `{"__class__": ...}`, and a store is untrusted. So the decoder never gets an object of
a record.
"""

import logging
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

import httpx
from prefect import State, Task, task
from prefect.cache_policies import CachePolicy
from prefect.client.schemas.objects import TaskRun
from prefect.context import TaskRunContext
from prefect.filesystems import LocalFileSystem
from prefect.results import ResultRecordMetadata  # type: ignore[attr-defined]
from prefect.serializers import JSONSerializer
from pydantic import BaseModel, ConfigDict

from brmrs.config.pipeline import PipelineConfig
from brmrs.serving.housekeeping import RESULTS
from brmrs.stages import Stage
from brmrs.store import keys
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.execute import execute
from brmrs.store.records import Artifact, from_text
from brmrs.system import progress
from brmrs.system.files import write_json
from tasks.progress import ProgressArtifacts

LOG = logging.getLogger("brmrs.tasks")
SECONDS_BETWEEN_TRIES = [5.0, 20.0]  # of a stage; single pictures are tried again by the stage
# An HTTPError (also a URLError) is a server's answer, not a network fault.
NETWORK_FAULTS = (ConnectionError, TimeoutError, URLError, httpx.TransportError)
# Prefect's own decoder imports and calls whatever a file names under "__class__". Results are in
# the store, where another user may write, so they are decoded as plain JSON.
PLAIN_JSON: JSONSerializer[Any] = JSONSerializer(object_encoder=None, object_decoder=None)


class StageRequest(BaseModel):
    """The arguments of a stage's task, besides its upstream artifacts."""

    model_config = ConfigDict(frozen=True)

    config: PipelineConfig
    fingerprint: dict[str, Any]
    artifacts: Path  # the store's root
    run: str
    refresh: bool = False


class StageCache(CachePolicy):
    """Keys of `brmrs.store.keys`: contents, never paths or run ids."""

    def __init__(self, stage: Stage, root: Path, run: str):
        super().__init__(key_storage=VerifiedRecords(basepath=str(root), run=run))
        self.stage = stage

    def compute_key(
        self,
        task_ctx: TaskRunContext,
        inputs: dict[str, Any],
        flow_parameters: dict[str, Any],
        **kwargs: Any,
    ) -> str:
        """`<stage>/<key>`: unique over all stages of a store."""
        del task_ctx, flow_parameters, kwargs
        request: StageRequest = inputs["request"]
        parts = keys.parts(
            self.stage, request.config, request.fingerprint, _artifacts(inputs["upstream"])
        )
        return f"{self.stage.name}/{keys.key(self.stage, parts)}"


class VerifiedRecords(LocalFileSystem):
    """Prefect's key storage, a view of the store. A record exists if its artifact verifies."""

    _block_type_name = "brmrs verified records"
    _block_type_slug = "brmrs-verified-records"

    run: str  # the current run

    # Prefect's own methods are dispatched to sync or async; ours are sync, as tasks call them.
    def read_path(self, path: str, **kwargs: Any) -> bytes:  # type: ignore[override]
        """The record of a task's result, which is rewritten from the store.

        Raises:
            ValueError: no artifact verifies under this key; Prefect then runs the task.
        """
        del kwargs
        root = Path(str(self.basepath))
        stage, _, key = path.partition("/")
        record = ArtifactStore(root).lookup(stage, key, self.run)
        if record is None:
            raise ValueError(f"no verified artifact under {path}")
        write_json(root / RESULTS / path, record.to_text())
        metadata = ResultRecordMetadata(storage_key=path, serializer=PLAIN_JSON)
        return bytes(metadata.dump_bytes())

    def write_path(self, path: str, content: bytes, **kwargs: Any) -> str:  # type: ignore[override]
        """Nothing to do: the stage wrote artifact and record."""
        del content, kwargs
        return path


def stage_task(stage: Stage, root: Path, run: str) -> Task[..., str]:
    """The task of a stage over the store at `root`; its result is `Record.to_text()`."""

    @task(
        name=stage.name,
        description=description(stage),
        cache_policy=StageCache(stage, root, run),
        result_storage=root / RESULTS,
        result_serializer=PLAIN_JSON,
        cache_result_in_memory=False,
        persist_result=True,
        retries=len(SECONDS_BETWEEN_TRIES),
        retry_delay_seconds=SECONDS_BETWEEN_TRIES,
        retry_condition_fn=_may_pass,
    )
    def run_stage(request: StageRequest, upstream: dict[str, str]) -> str:
        with progress.watched(ProgressArtifacts(stage.name)):
            record = execute(
                stage,
                request.config,
                request.fingerprint,
                _artifacts(upstream),
                ArtifactStore(request.artifacts),
                request.run,
                refresh=request.refresh,
            )
        return record.to_text()

    return run_stage


def description(stage: Stage) -> str:
    """What the stage reads, for Prefect's page."""
    reads = ", ".join((*stage.reads, *stage.external)) or "nothing"
    settings = ", ".join(stage.config) or "none"
    return f"Stage {stage.name} ({stage.module}). Reads: {reads}. Settings: {settings}."


def _may_pass(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> bool:
    """Whether the network failed. Other failures are not retried."""
    del task_run
    error = state.data
    while isinstance(error, BaseException):
        if isinstance(error, NETWORK_FAULTS) and not isinstance(error, HTTPError):
            LOG.warning("%s: no answer from the network; trying again", task.name)
            return True
        error = error.__cause__
    return False


def _artifacts(upstream: dict[str, str]) -> dict[str, Artifact]:
    return {name: from_text(text).artifact for name, text in upstream.items()}
