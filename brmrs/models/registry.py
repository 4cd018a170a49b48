"""The recommenders by name. Importing this loads none of them."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from brmrs.config.models import MODEL_SECTIONS
from brmrs.config.section import Section
from brmrs.errors import UserError
from brmrs.system.memory import free_memory

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
    "vbpr": "brmrs.models.vbpr:VBPR",
    "deepstyle": "brmrs.models.deepstyle:DeepStyle",
    "maml": "brmrs.models.maml:MAML",
    "vecf": "brmrs.models.vecf:VECF",
    "buir": "brmrs.models.buir:BUIR",
    "item-knn": "brmrs.models.item_knn:ItemKNN",
    "ease": "brmrs.models.ease:EASE",
}


def load(name: str) -> "type[Recommender]":
    """The class of a recommender."""
    module, _, attribute = RECOMMENDERS[name].partition(":")
    recommender: type[Recommender] = getattr(import_module(module), attribute)
    return recommender


def catalogue() -> list[dict[str, Any]]:
    """What `brmrs models` shows of each recommender, by name.

    "paper" is the first line of its docstring; "needs" beside the interactions; "objective" says
    whether it takes BR-MRS's terms beside its own; "trains", whether by gradient.
    """
    rows = []
    for name in sorted(RECOMMENDERS):
        recommender = load(name)
        fields = MODEL_SECTIONS[name].model_fields
        rows.append(
            {
                "name": name,
                "paper": (recommender.__doc__ or "").partition("\n")[0].rstrip("."),
                "needs": sorted(recommender.needs),
                "objective": "objective" in fields,
                "trains": recommender.trainable,
                "configuration": f"configs/models/{name}.yaml",
            }
        )
    return rows


def build(config: Section, data: "TrainingData", seed: int) -> "Recommender":
    """Construct the configured recommender.

    Raises:
        UserError: the data lack something that the recommender needs, or the machine has not the
            memory that it takes.
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
    _refuse_what_does_not_fit(name, recommender.working_bytes(data, values), data)
    return recommender(data, seed=seed, **values)


def _refuse_what_does_not_fit(name: str, needed: int, data: "TrainingData") -> None:
    free = free_memory(data.device)
    if free is not None and needed > free:
        raise UserError(
            f"model {name} needs about {needed / 1e9:.1f} GB of memory for {data.users:,} users "
            f"and {data.items:,} items, and {free / 1e9:.1f} GB are free; choose "
            "another model, a smaller model.dim if it has one, or a machine with more"
        )
