"""The recommenders by name. Importing this loads none of them."""

from importlib import import_module
from typing import TYPE_CHECKING

from brmrs.errors import UserError
from brmrs.section import Section

if TYPE_CHECKING:
    from brmrs.models.base import Recommender, TrainingData

RECOMMENDERS = {
    "most-popular": "brmrs.models.most_popular:MostPopular",
    "bpr-mf": "brmrs.models.bpr_mf:BPRMF",
    "lightgcn": "brmrs.models.lightgcn:LightGCN",
    "bm3": "brmrs.models.bm3:BM3",
    "mmgcn": "brmrs.models.mmgcn:MMGCN",
    "grcn": "brmrs.models.grcn:GRCN",
    "dualgnn": "brmrs.models.dualgnn:DualGNN",
    "lattice": "brmrs.models.lattice:LATTICE",
    "freedom": "brmrs.models.freedom:FREEDOM",
    "br-mrs": "brmrs.models.br_mrs:BRMRS",
}


def load(name: str) -> "type[Recommender]":
    """The class of a recommender."""
    module, _, attribute = RECOMMENDERS[name].partition(":")
    recommender: type[Recommender] = getattr(import_module(module), attribute)
    return recommender


def build(config: Section, data: "TrainingData", seed: int) -> "Recommender":
    """Construct the configured recommender.

    Raises:
        UserError: the data lack something that the recommender needs.
    """
    values = config.model_dump()
    name = values.pop("name")
    recommender = load(name)
    have = {
        "features": bool(data.features),
        "item_graph": data.item_graph is not None,
        "user_graph": data.user_graph is not None,
        "modality_graphs": bool(data.modality_graphs),
    }
    missing = sorted(need for need in recommender.needs if not have[need])
    if missing:
        raise UserError(
            f"model {name} needs {' and '.join(missing)}, and the data have none; "
            "give the items texts or pictures, or choose another model"
        )
    return recommender(data, seed=seed, **values)
