"""Without a modality, or without any, every recommender trains or refuses in one clear line."""

import pytest
import torch
from checkerboard import make_data, train
from torch import Tensor

from brmrs.columns import FUSED, TEXT, VISUAL
from brmrs.config.models import names as model_names
from brmrs.config.pipeline import PipelineConfig
from brmrs.errors import UserError
from brmrs.models.base import TrainingData
from brmrs.models.registry import build, load
from brmrs.training.imputation import imputed

pytestmark = pytest.mark.usefixtures("one_thread")


def trains(name: str, data: TrainingData) -> Tensor:
    """(U, I) scores after three steps with the defaults, all numbers finite."""
    config = PipelineConfig.model_validate({"model": name}).model
    model = build(config, data, seed=0)
    if model.trainable:
        assert torch.isfinite(torch.tensor(train(model, data, 3))).all()
    with torch.no_grad():
        scores = model.branches()[FUSED].scores(torch.arange(data.users))
    assert scores.shape == (data.users, data.items)
    assert torch.isfinite(scores).all()
    return scores


@pytest.mark.parametrize("modalities", [(), (TEXT,), (VISUAL,)], ids=["none", TEXT, VISUAL])
@pytest.mark.parametrize("name", model_names())
def test_trains_or_refuses_in_one_line(name: str, modalities: tuple[str, ...]) -> None:
    data = make_data(modalities)
    if modalities or not load(name).needs:
        trains(name, data)
        return
    with pytest.raises(UserError, match=f"^model {name} needs .*, and the data have none") as told:
        trains(name, data)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("how", ["mean", "neighbours"])
@pytest.mark.parametrize("name", model_names())
def test_imputed_vectors_reach_every_recommender_that_reads_any(name: str, how: str) -> None:
    without, filled = (trains(name, imputed(make_data(), each)) for each in ("zeros", how))  # type: ignore[arg-type]
    recommender = load(name)  # imputation leaves the graphs as they are
    assert torch.equal(without, filled) != ("features" in {*recommender.needs, *recommender.uses})
