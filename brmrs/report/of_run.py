"""What the report reads, for a finished run."""

from brmrs.config.pipeline import PipelineConfig
from brmrs.report.inputs import Inputs
from brmrs.stages import BY_NAME
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.runs import Run, sound

REPORT = BY_NAME["report"]
# Stages that a run must have to be shown beside others.
REQUIRED = tuple(
    dict.fromkeys(read.partition("/")[0] for read in REPORT.reads if read not in REPORT.optional)
)


def inputs_of(run: Run, store: ArtifactStore) -> Inputs:
    """The artifacts of a run that the stage report reads. Its configuration is not read.

    Raises:
        UserError: the run did not reach a stage that the report needs, or an artifact is missing or
            damaged.
    """
    reads = [read for read in REPORT.reads if read.partition("/")[0] in run.stages]
    needed = [name for name in REPORT.upstream if name in run.stages or name in REQUIRED]
    sound(run, store, *needed)
    paths = {read: store.path(run.artifact(read.partition("/")[0]), read) for read in reads}
    return Inputs(paths, PipelineConfig())
