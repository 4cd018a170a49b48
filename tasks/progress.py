"""Progress of long stages on Prefect's own page."""

import contextlib
import time
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.runtime import flow_run, task_run

from brmrs.system.progress import Task

SECONDS = 5.0  # shorter work is not shown
SECONDS_BETWEEN_UPDATES = 30.0  # each shows as an event in `--watch`; the log has progress, too


class ProgressArtifacts:
    """A progress artifact for each long piece of a stage's work.

    Created in the stage's thread, called from any thread.

    Prefect keeps every artifact, so only long work gets one, with few updates.
    """

    def __init__(self, stage: str):
        self.stage = stage
        self._task_run, self._flow_run = UUID(task_run.id), UUID(flow_run.id)
        self._last = time.monotonic()
        self._shown: dict[str, UUID] = {}

    def __call__(self, task: Task) -> None:
        """A step was made."""
        now = time.monotonic()
        shown = self._shown.get(task.description)
        wait = SECONDS_BETWEEN_UPDATES if shown else SECONDS
        if now - self._last < wait and not (task.ended and shown):
            return
        self._last = now
        percent = 100.0 if task.ended else min(100.0 * task.done / max(task.total, 1), 100.0)
        text = f"{self.stage}: {task.text}"
        # A failed update must not stop the stage.
        with contextlib.suppress(httpx.HTTPError), get_client(sync_client=True) as client:
            if shown:
                update = ArtifactUpdate(data=percent, description=text)
                client.update_artifact(shown, update)
            else:
                created = client.create_artifact(self._artifact(percent, text))
                self._shown[task.description] = created.id

    def _artifact(self, percent: float, text: str) -> ArtifactCreate:
        return ArtifactCreate(
            key=f"progress-{self.stage.replace('_', '-')}",
            type="progress",
            description=text,
            data=percent,
            task_run_id=self._task_run,
            flow_run_id=self._flow_run,
        )
