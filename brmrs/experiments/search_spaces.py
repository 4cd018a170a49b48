"""What `brmrs tune` searches: a range for each hyper-parameter, by the name of its field.

A name has the same meaning in every recommender, so a new recommender needs no entry. Fields that
are not listed stay as configured: `dim` and `feature_dim`, because published tables compare at a
fixed size, and choices of the model's structure.
"""

from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

from brmrs.config.section import Section
from brmrs.errors import UserError
from brmrs.models import registry

_RATE = FloatDistribution(0.0, 0.9, step=0.1)
_WEIGHT = FloatDistribution(0.01, 10.0, log=True)

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
PART_OF = {"pool": "chns", "theta": "synergy"}  # without the term they change nothing


def space(model: Section) -> dict[str, BaseDistribution]:
    """What to search for a recommender: the range of each field, by its dotted path.

    A field that is 0 is switched off. It is not searched if its range is logarithmic, because the
    first trial is the configuration itself, and a logarithmic range does not contain 0.

    Raises:
        UserError: it has nothing to search.
    """
    name = model.model_dump()["name"]
    ranges = _ranges("model", model)
    if registry.load(name).trainable:
        ranges["train.learning_rate"] = LEARNING_RATE
    if not ranges:
        raise UserError(f"model {name} has nothing to tune")
    return ranges


def _ranges(path: str, section: Section) -> dict[str, BaseDistribution]:
    """The ranges of a section's fields, and of the sections in it, such as `model.objective`."""
    ranges: dict[str, BaseDistribution] = {}
    for field, value in section:
        if isinstance(value, Section):
            ranges |= _ranges(f"{path}.{field}", value)
        elif field not in BY_FIELD or not isinstance(value, int | float):
            continue  # a choice may bear the name of a number
        elif field in PART_OF and getattr(section, PART_OF[field]) == 0:
            continue
        elif value > 0 or not BY_FIELD[field].log:
            ranges[f"{path}.{field}"] = BY_FIELD[field]
    return ranges
