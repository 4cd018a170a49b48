"""The model bundle: a trained recommender for serving, evaluation and warm starts.

It has two files. `model.safetensors` holds the tensors of each branch (`text.p`, `text.q`, ...),
the training items of every user (`seen.indptr`, `seen.items`) and the recommender's parameters
(`state.<name>`). `bundle.json` holds everything else. A bundle loads without the training data and
without the recommender's code.
"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, TypeAdapter
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from brmrs.columns import FUSED
from brmrs.errors import UserError
from brmrs.graphs.user_items import UserItems
from brmrs.models.base import FoldIn, Scorer
from brmrs.models.scorers import SCORERS, kind_of
from brmrs.models.standardised import StandardisedSum
from brmrs.models.tensor_checks import check_csr, check_scorer
from brmrs.system import untrusted
from brmrs.system.files import digest_file, digest_json, write_json
from brmrs.system.untrusted import Name

TENSORS = "model.safetensors"
DESCRIPTION = "bundle.json"
FORMAT = "brmrs-bundle"
VERSION = 3
IDS = "ids_sha256"  # in the header of the tensors: digest of users and items in their order
PARTS = "parts"  # the field of `StandardisedSum` that is no tensor
_INDPTR, _ITEMS, _STATE = "seen.indptr", "seen.items", "state."


class Feature(BaseModel):
    """The features of one modality, as described in `bundle.json`.

    Attributes:
        label: their name in tables and reports, such as "ResNet-18 (random weights)".
        weights_sha256: of the weights that made them; None where there are none.
        items: I.
        present: how many items have the modality.
        used: whether the recommender learned from them.
        imputation: the value of `features.imputation`, for items without the modality.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    weights_sha256: str | None
    items: int
    present: int
    used: bool
    imputation: str = "zeros"  # before the field existed


class WarmStart(BaseModel):
    """The bundle that training started from, as described in `bundle.json`.

    Attributes:
        tensors_sha256: of that bundle's `model.safetensors`.
        tables: the parameters whose rows were taken over.
        users: number of users with a row in it; all others were initialised as usual.
        items: number of items with a row in it.
        validation_trained_on: number of validation interactions that the earlier model was trained
            on. Test interactions are affected in the same way.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tensors_sha256: str
    tables: tuple[str, ...]
    users: int
    items: int
    validation_trained_on: int


class Description(BaseModel):
    """The content of `bundle.json`.

    Attributes:
        model: the recommender's configuration; its "name" names it.
        train: the training configuration.
        warm_start: the bundle that training started from; None without a warm start.
        best_epoch: counted from 1; 0 where nothing was trained.
        validation: the selection metric of that epoch; with residual scores, of the sum.
        residuals: the weights of the residual scores, by branch; the model's own is 1.
        features: by modality.
        users: the raw ids, in the order of the dense ids.
        items: the raw ids, in the order of the dense ids.
        scorers: how each branch ranks, a name of `brmrs.models.scorers.SCORERS`.
        parts: the branches that a branch is the sum of, in the order of its weights.
        tensors_sha256: of `model.safetensors`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: str = FORMAT
    version: int = VERSION
    model: dict[str, Any]
    train: dict[str, Any]
    warm_start: WarmStart | None = None
    best_epoch: int
    validation: dict[str, float]
    residuals: dict[str, float] = {}
    features: dict[str, Feature]
    users: tuple[str, ...]
    items: tuple[str, ...]
    scorers: dict[Name, str] = {}  # filled in by `Bundle.save`; exports name files by branch
    parts: dict[str, tuple[str, ...]] = {}  # filled in by `Bundle.save`
    tensors_sha256: str = ""


_DESCRIPTION = TypeAdapter(Description)


@dataclass(frozen=True)
class Bundle:
    """A trained recommender, ready to rank.

    Attributes:
        about: names, ids, configuration, metrics.
        branches: "fused" always; "text" and "visual" where the recommender has them. Where "fused"
            is a `StandardisedSum`, its parts, too.
        seen: the training items of each user.
        state: the recommender's own parameters, for a warm start.
    """

    about: Description
    branches: Mapping[str, Scorer]
    seen: UserItems
    state: Mapping[str, Tensor]

    @property
    def fused(self) -> Scorer:
        """The branch to recommend by."""
        return self.branches[FUSED]

    @cached_property
    def fold_in(self) -> dict[str, FoldIn]:
        """By branch: from histories of new users to a scorer of them. Fitted at the first use."""
        return {name: branch.fold_in(self.seen) for name, branch in self.branches.items()}

    @cached_property
    def user_index(self) -> dict[str, int]:
        """Dense user id by raw id."""
        return {name: index for index, name in enumerate(self.about.users)}

    @cached_property
    def item_index(self) -> dict[str, int]:
        """Dense item id by asin."""
        return {name: index for index, name in enumerate(self.about.items)}

    def save(self, folder: Path) -> None:
        """Write the two files; equal bundles give equal bytes."""
        tensors = {_INDPTR: self.seen.indptr, _ITEMS: self.seen.items.int()}
        for name, branch in self.branches.items():
            tensors |= {
                f"{name}.{field}": value
                for field, value in vars(branch).items()
                if isinstance(value, Tensor)
            }
        tensors |= {_STATE + name: value for name, value in self.state.items()}
        # Clones: two names may share one tensor's memory, which safetensors refuses.
        cpu = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
        ids = digest_json([self.about.users, self.about.items])
        save_file(cpu, folder / TENSORS, {IDS: ids})
        facts = {
            "scorers": {name: kind_of(branch) for name, branch in self.branches.items()},
            "parts": {
                name: tuple(branch.parts)
                for name, branch in self.branches.items()
                if isinstance(branch, StandardisedSum)
            },
            "tensors_sha256": digest_file(folder / TENSORS),
        }
        about = self.about.model_copy(update=facts)
        write_json(folder / DESCRIPTION, about.model_dump(mode="json"))


def load(folder: Path) -> Bundle:
    """Read a bundle onto the CPU.

    Raises:
        UserError: a file is missing, damaged, of another format, or the two do not fit together.
    """
    about = _description(folder / DESCRIPTION)
    path = folder / TENSORS
    try:
        if digest_file(path) != about.tensors_sha256:
            raise UserError(f"{path}: not the file that {DESCRIPTION} describes; train again")
        tensors = load_file(path)
        with safe_open(path, "pt") as file:
            ids = (file.metadata() or {}).get(IDS)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: cannot be read ({error}); train again") from error
    try:
        found = _assemble(about, tensors)
    except (KeyError, ValueError) as error:
        raise UserError(f"{path}: a tensor is missing or misshapen ({error})") from error
    if ids != digest_json([about.users, about.items]):
        raise UserError(
            f"{path}: its rows are not in the order of the users and items in {DESCRIPTION}; "
            "train again"
        )
    return found


def _description(path: Path) -> Description:
    try:
        about = untrusted.read(path, _DESCRIPTION)
    except ValueError as error:
        raise UserError(f"{path}: not a model bundle: {error}; train again") from error
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; pass a folder that `train` wrote") from error
    if (about.format, about.version) != (FORMAT, VERSION):
        raise UserError(
            f"{path}: format {about.format} {about.version}, this version reads "
            f"{FORMAT} {VERSION}; train again"
        )
    return about


def _assemble(about: Description, tensors: dict[str, Tensor]) -> Bundle:
    users, items = len(about.users), len(about.items)
    if tensors[_INDPTR].shape != (users + 1,):
        found = tensors[_INDPTR].numel() - 1
        raise ValueError(f"{_INDPTR} of {found} users, {DESCRIPTION} has {users}")
    if tensors[_ITEMS].dtype != torch.int32:
        raise ValueError(f"{_ITEMS} is of {tensors[_ITEMS].dtype}")
    seen = UserItems(tensors[_INDPTR], tensors[_ITEMS].long(), items)
    check_csr(seen.indptr, seen.items, users, items)
    state = {
        name.removeprefix(_STATE): tensors.pop(name)
        for name in list(tensors)
        if name.startswith(_STATE)
    }
    branches: dict[str, Scorer] = {}
    for name, kind in sorted(about.scorers.items(), key=lambda each: each[0] in about.parts):
        parts = {part: branches[part] for part in about.parts.get(name, ())}
        branches[name] = _branch(name, kind, tensors, parts, (users, items))
    if FUSED not in branches:
        raise KeyError(FUSED)
    return Bundle(about, branches, seen, state)


def _branch(
    name: str,
    kind: str,
    tensors: Mapping[str, Tensor],
    parts: Mapping[str, Scorer],
    shape: tuple[int, int],
) -> Scorer:
    if kind not in SCORERS:
        raise ValueError(f"branch {name} ranks by {kind}, which this version does not know")
    names = inspect.signature(SCORERS[kind]).parameters
    fields = {field: tensors[f"{name}.{field}"] for field in names if field != PARTS}
    try:
        check_scorer(kind, fields, *shape)
    except ValueError as error:
        raise ValueError(
            f"branch {name} is not of {shape[0]} users and {shape[1]} items: {error}"
        ) from error
    return SCORERS[kind](**fields, **({PARTS: parts} if PARTS in names else {}))
