"""Models by name: their classes, their needs, and their construction."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brmrs import extensions
from brmrs.config.models import ModelSection, section_of
from brmrs.config.shipped import shipped_configs
from brmrs.errors import UserError
from brmrs.extensions import Extension
from brmrs.system.memory import free_memory

if TYPE_CHECKING:
    from brmrs.models.base import Recommender, TrainingData


def load(name: str, plugins: Iterable[Path] = ()) -> "type[Recommender]":
    """The class of a model; imports its module.

    Raises:
        UserError: there is no such model, or its module cannot be imported.
    """
    return _class_of(extensions.find("model", name, plugins))


def _class_of(extension: Extension) -> "type[Recommender]":
    from brmrs.models.base import Recommender

    recommender = extension.load()
    if not (isinstance(recommender, type) and issubclass(recommender, Recommender)):
        raise UserError(f"{extension.file}: model {extension.name} is no subclass of Recommender")
    recommender.Config = section_of(extension)  # this error also names the model
    return recommender


def needs(config: ModelSection) -> tuple[str, ...]:
    """The parts of `TrainingData` that the configured model requires; loads no model."""
    return tuple(config.extension.options.get("needs", ()))


def catalogue(plugins: Iterable[Path] = ()) -> list[dict[str, Any]]:
    """The rows of `brmrs models`, by name; loads no model.

    Each has "name"; "paper", the first line of the class's docstring; "needs", beside the
    interactions; "objective", whether it takes BR-MRS's ranking terms in addition; "trains",
    whether by gradient; "configuration", its shipped file, None where there is none; "source".
    """
    rows = []
    shipped = shipped_configs()
    for name, extension in sorted(extensions.known("model", plugins).items()):
        file = Path("models") / f"{name}.yaml"
        rows.append(
            {
                "name": name,
                "paper": extension.summary,
                "needs": sorted(extension.options.get("needs", ())),
                "objective": "objective" in section_of(extension).model_fields,
                "trains": extension.options.get("trainable", True),
                "configuration": f"configs/{file}" if (shipped / file).is_file() else None,
                "source": str(extension.file),
            }
        )
    return rows


def build(config: ModelSection, data: "TrainingData", seed: int) -> "Recommender":
    """Construct the configured model.

    Raises:
        UserError: the data lack a part that the model needs, or ask for sampled neighbours that it
            does not draw, or the machine lacks the memory.
    """
    recommender = _class_of(config.extension)
    have = {
        "features": bool(data.features),
        "item_graph": data.item_graph is not None,
        "user_graph": data.user_graph is not None,
        "modality_graphs": bool(data.modality_graphs),
    }
    missing = sorted(need for need in recommender.needs if not have[need])
    if missing:
        raise UserError(
            f"model {config.name} needs {' and '.join(missing)}, and the data have none; "
            "give the items texts or pictures, or choose another model"
        )
    if data.sampled_neighbours and (not recommender.can_sample or config.whole_graph()):
        what = f"model {config.name} {config.whole_graph()}".rstrip()
        raise UserError(f"{what} uses the whole graph in each step; sample no neighbours")
    _refuse_what_does_not_fit(config, recommender, data)
    return recommender(data, config, seed=seed)


def _refuse_what_does_not_fit(
    config: ModelSection, recommender: "type[Recommender]", data: "TrainingData"
) -> None:
    needed, free = recommender.working_bytes(data, config), free_memory(data.device)
    if data.device.type == "cpu":  # the processes of one training share the machine's memory
        needed *= data.columns.here
    if free is not None and needed > free:
        raise UserError(
            f"model {config.name} needs about {needed / 1e9:.1f} GB of memory for {data.users:,} "
            f"users and {data.items:,} items, and {free / 1e9:.1f} GB are free; choose another "
            "model, a smaller model.dim if it has one, or a machine with more"
        )
