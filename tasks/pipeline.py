"""The pipeline's tasks: the fingerprint, which always runs, and one cached task per stage."""

from pathlib import Path
from typing import Any

from prefect import Task, task
from prefect.cache_policies import NO_CACHE

from brmrs.config.pipeline import PipelineConfig
from brmrs.stages import Stage
from brmrs.store.fingerprint import fingerprint as digests
from tasks.stage import stage_task


@task(name="fingerprint", cache_policy=NO_CACHE, persist_result=False)
def fingerprint(config: PipelineConfig, names: tuple[str, ...]) -> dict[str, Any]:
    """Digests of these input files; the keys of the other stages depend on them."""
    return dict(digests(config, names))


def stage_tasks(stages: tuple[Stage, ...], root: Path, run: str) -> dict[str, Task[..., str]]:
    """The tasks of these stages over the store at `root`, by name, for one run."""
    return {stage.name: stage_task(stage, root, run) for stage in stages}
