"""The search space of `brmrs tune`: a range for each hyper-parameter.

The range of a field comes from its annotation (`brmrs.config.section.Search`), or from this module
by its name, as a name has the same meaning in every recommender. All other fields stay as
configured: `dim` and `feature_dim`, because published tables compare at a fixed size, and fields
that define the structure of a model.
"""

from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

from brmrs.config.models import ModelSection
from brmrs.config.pipeline import PipelineConfig
from brmrs.config.residuals import ResidualsConfig
from brmrs.config.section import Search, Section
from brmrs.errors import UserError

_RATE = FloatDistribution(0.0, 0.9, step=0.1)
_WEIGHT = FloatDistribution(0.01, 10.0, log=True)
_TEMPERATURE = FloatDistribution(0.05, 1.0, log=True)

LEARNING_RATE = FloatDistribution(1e-4, 1e-2, log=True)
BY_FIELD: dict[str, FloatDistribution | IntDistribution] = {
    "regularization": FloatDistribution(1e-6, 1.0, log=True),
    "layers": IntDistribution(1, 4),
    "item_layers": IntDistribution(0, 2),
    "user_layers": IntDistribution(0, 2),
    "dropout": _RATE,
    "edge_dropout": _RATE,
    "momentum": FloatDistribution(0.9, 0.999),
    "chns": _WEIGHT,
    "synergy": _WEIGHT,
    "contrast": _WEIGHT,
    "user_contrast": _WEIGHT,
    "temperature": _TEMPERATURE,
    "user_temperature": _TEMPERATURE,
    "feature": _WEIGHT,
    "covariance": _WEIGHT,
    "theta": FloatDistribution(0.0, 1.0, step=0.1),
    "margin": FloatDistribution(0.1, 4.0),
    "pool": IntDistribution(1, 16, log=True),
    "n_negatives": IntDistribution(1, 16, log=True),
    "neighbours": IntDistribution(10, 1000, log=True),
    "shrink": FloatDistribution(0.0, 1000.0),
    "ridge": FloatDistribution(1.0, 10000.0, log=True),
}
PART_OF = {"pool": "chns", "theta": "synergy"}  # without the term they have no effect


def searchable(config: PipelineConfig) -> dict[str, BaseDistribution]:
    """The search space of a configuration; called before the stages that the training reads.

    Raises:
        UserError: the recommender has nothing to search, or several processes are configured.
    """
    if config.train.processes > 1:
        raise UserError("brmrs tune trains in one process; set train.processes=1")
    return space(config.model)


def space(model: ModelSection) -> dict[str, BaseDistribution]:
    """The search space of a recommender: the range of each field, by its dotted path.

    A field that is 0 is switched off. It is not searched if its range is logarithmic, because the
    first trial is the configuration itself, and a logarithmic range does not contain 0.

    Raises:
        UserError: it has nothing to search.
    """
    name = model.name
    ranges = _ranges("model", model)
    if model.extension.options.get("trainable", True):
        ranges["train.learning_rate"] = LEARNING_RATE
    if not ranges:
        raise UserError(f"model {name} has nothing to tune")
    return ranges


def _ranges(path: str, section: Section) -> dict[str, BaseDistribution]:
    """The ranges of a section's fields, and of the sections in it, such as `model.objective`."""
    ranges: dict[str, BaseDistribution] = {}
    for field, value in section:
        if isinstance(value, ResidualsConfig):  # `model.residuals.search` chooses their weights
            continue
        if isinstance(value, Section):
            ranges |= _ranges(f"{path}.{field}", value)
            continue
        searched = range_of(section, field)
        if searched is None or not isinstance(value, int | float):
            continue
        if field in PART_OF and getattr(section, PART_OF[field]) == 0:
            continue
        if value > 0 or not searched.log:
            ranges[f"{path}.{field}"] = searched
    return ranges


def range_of(section: Section, field: str) -> FloatDistribution | IntDistribution | None:
    """The range of a field; None if it is not searched."""
    info = type(section).model_fields[field]
    mark = next((each for each in info.metadata if isinstance(each, Search)), None)
    if mark is None:
        return BY_FIELD.get(field)
    if info.annotation is int:
        return IntDistribution(int(mark.low), int(mark.high), log=mark.log)
    return FloatDistribution(mark.low, mark.high, log=mark.log)
