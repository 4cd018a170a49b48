"""The whole pipeline without Prefect: what the tests of the cache run, by the library alone."""

from dataclasses import dataclass
from functools import cache
from typing import Any

from brmrs.config.pipeline import PipelineConfig, put
from brmrs.stages import STAGES, Stage, externals
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.execute import execute
from brmrs.store.fingerprint import fingerprint
from brmrs.store.plan import Step, plan
from brmrs.store.records import Artifact

OTHERS = [name for name in externals(STAGES) if name != "text_model"]


@dataclass
class Pipeline:
    """The pipeline over one store; counts its runs.

    Attributes:
        store: where artifacts lie.
        stages: those that `run` executes.
    """

    store: ArtifactStore
    stages: tuple[Stage, ...] = STAGES
    runs: int = 0

    def run(self, config: PipelineConfig) -> tuple[set[str], dict[str, Artifact]]:
        """The names of the stages that ran, not cached, and every stage's artifact."""
        self.runs += 1
        name = f"run-{self.runs}"
        prints = _prints(config)
        ran: set[str] = set()
        artifacts: dict[str, Artifact] = {}
        for stage in self.stages:
            upstream = {each: artifacts[each] for each in stage.upstream}
            record = execute(stage, config, prints, upstream, self.store, name)
            artifacts[stage.name] = record.artifact
            if record.run == name:
                ran.add(stage.name)
        return ran, artifacts

    def plan(self, config: PipelineConfig) -> dict[str, Step]:
        """What a run of all stages would do."""
        steps = plan(STAGES, config, _prints(config), self.store)
        return {step.stage: step for step in steps}


@cache
def _text_model() -> dict[str, Any]:
    """The large file that no test changes."""
    return fingerprint(PipelineConfig(), ("text_model",))


def _prints(config: PipelineConfig) -> dict[str, Any]:
    return {**fingerprint(config, OTHERS), **_text_model()}


def changed(config: PipelineConfig, path: str, value: object) -> PipelineConfig:
    """The configuration with the field at a dotted path set."""
    values = config.model_dump()
    put(values, path, value)
    return PipelineConfig.model_validate(values)
