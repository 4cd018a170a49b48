"""The residual score `ssc`: a second model, trained on its own after the configured one."""

from dataclasses import replace
from pathlib import Path

from brmrs.columns import FUSED
from brmrs.config.models import configure
from brmrs.config.pipeline import PipelineConfig
from brmrs.models.base import Scorer
from brmrs.models.columns import WHOLE
from brmrs.system.checkpoint import InFile
from brmrs.training.learn import Inputs, learn
from brmrs.training.member import Member

NAME = "ssc"
# Twice the batch of configs/models/ssc.yaml, averaged weights and less patience: in the sum as good
# on Baby, in less than half of the time.
OWN = {"draw": "users", "learning_rate": 5e-3, "average": 0.99}
PATIENCE = 30
# One process trains it, from the start, and each step uses the whole graph.
PLAIN = {"processes": 1, "warm_start": None, "sampled_neighbours": None}


def trained(inputs: Inputs, config: PipelineConfig, checkpoints: Path) -> Scorer:
    """Train the model, and return its fused branch.

    An interrupted training continues from the checkpoints.

    Args:
        inputs: those of the configured model.
        config: the settings of `train`, except for `OWN`, at most `PATIENCE`, and a batch of twice
            the size; the modalities' weights in its graph.
        checkpoints: the file for them.

    Raises:
        UserError: the training diverged, or the machine lacks the memory.
    """
    model = configure(NAME, visual_weight=config.model.residuals.visual_weight)
    sizes = {
        "batch_size": 2 * config.train.batch_size,
        "patience": min(PATIENCE, config.train.patience),
    }
    train = config.train.model_copy(update=OWN | PLAIN | sizes)
    alone = config.model_copy(update={"model": model, "train": train})
    data = replace(inputs.data, sampled_neighbours=())
    member = Member(data.device, WHOLE, replace(inputs, data=data, warm=None), InFile(checkpoints))
    return learn(member, alone).branches[FUSED]
