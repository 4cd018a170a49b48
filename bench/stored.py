"""The data that the models of an artifact store were trained on, for the scripts of this folder."""

from pathlib import Path

from brmrs.columns import FUSED, MODEL, TEST
from brmrs.config.load import parse
from brmrs.config.models import ModelSection
from brmrs.config.pipeline import PipelineConfig
from brmrs.graphs.user_items import UserItems
from brmrs.models.base import Scorer
from brmrs.models.bundle import Bundle
from brmrs.stages import SPLIT, of_model
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.execute import inputs_of
from brmrs.store.runs import latest
from brmrs.training.stage import Prepared, prepare

BESIDE_WEIGHT = 0.6  # of a second model in a sum, where the search starts


def data_for(folder: Path, model: ModelSection) -> tuple[PipelineConfig, Prepared, UserItems]:
    """The inputs of a training, from the latest run of a store that has graphs.

    Args:
        folder: the store.
        model: the section `model` that takes the place of the run's.

    Returns:
        The run's configuration with that section, the inputs, and the test items.
    """
    store = ArtifactStore(folder)
    run = latest(store, "graphs")
    config = parse({**run.config, "model": model.model_dump(mode="json")}, "the store")
    train = next(stage for stage in of_model(config) if stage.name == "train")
    inputs = inputs_of(train, {name: run.artifact(name) for name in train.upstream}, store)
    ready = prepare(inputs, config)
    test = UserItems.read(inputs[SPLIT], TEST, len(ready.users), len(ready.items))
    return config, ready, test


def own(stored: Bundle) -> Scorer:
    """The fused branch of a model without residual scores."""
    return stored.branches.get(MODEL, stored.branches[FUSED])
