"""The interface of all recommenders."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, normalize

from brmrs.config.models import ModelSection
from brmrs.graphs.sparse import SparseMatrix
from brmrs.graphs.user_items import UserItems
from brmrs.models.columns import WHOLE, Columns
from brmrs.models.fold_in import UserRegression, summed_similarities


@dataclass(frozen=True)
class TrainingData:
    """The training split and data derived from it: all that a recommender may use.

    Attributes:
        users: U, the number of users.
        items: I, the number of items.
        train_users: (N,) int64, sorted with `train_items` by (user, item), no pair twice.
        train_items: (N,) int64.
        features: per modality the (I, d_m) float32 vectors; rows of items without the modality are
            zero or follow `features.imputation`. A modality that no item has is left out.
        present: per modality the (I,) bool mask of `features`; imputed ones count as present.
        user_item: (U, I) the normalised D^-1/2 R D^-1/2 of the training interactions (LightGCN).
        item_graph: (I, I) the homogeneous graph G_ii, row-normalised; None where there is none.
        user_graph: (U, U) the homogeneous graph G_uu, row-normalised; None where there is none.
        categories: (I,) int64 the most specific category of each item, counted from 0; all 0 where
            the items have none.
        modality_graphs: per modality the (I, I) cosines of each item with its k nearest others; a
            modality without any edge is left out.
        regions: (I, K, D) float16, the K positions of each picture's feature map, zeros where there
            is no picture; None where the visual features have no maps. They are always on the CPU,
            in a file mapped into memory, so look up only the rows that you need.
        columns: the columns of the embeddings that this process trains, by default all.
        sampled_neighbours: neighbours that a training step draws per node, by layer from the batch
            on; further layers use the last number. Empty: a step uses the whole graph.
    """

    users: int
    items: int
    train_users: Tensor
    train_items: Tensor
    user_item: SparseMatrix
    features: Mapping[str, Tensor] = field(default_factory=dict)
    present: Mapping[str, Tensor] = field(default_factory=dict)
    item_graph: SparseMatrix | None = None
    user_graph: SparseMatrix | None = None
    categories: Tensor | None = None
    modality_graphs: Mapping[str, SparseMatrix] = field(default_factory=dict)
    regions: Tensor | None = None
    columns: Columns = WHOLE
    sampled_neighbours: tuple[int, ...] = ()

    @property
    def device(self) -> torch.device:
        """The device of all tensors except the regions."""
        return self.train_users.device

    def to(self, device: torch.device) -> "TrainingData":
        """The same data on a device, with the regions where they are."""
        moved = {
            name: _moved(value, device) for name, value in vars(self).items() if name != "regions"
        }
        return replace(self, **moved)


def _moved(value: Any, device: torch.device) -> Any:
    """Tensors and sparse matrices, alone or by name, on a device; other values as they are."""
    if isinstance(value, Mapping):
        return {name: _moved(each, device) for name, each in value.items()}
    return value.to(device) if isinstance(value, Tensor | SparseMatrix) else value


@dataclass(frozen=True)
class Batch:
    """One step's training triples.

    Attributes:
        users: (B,) int64.
        positives: (B,) int64, a training item of the user.
        negatives: (B, n) int64, items outside the user's training items, uniform and independent;
            n is the recommender's `n_negatives`.
    """

    users: Tensor
    positives: Tensor
    negatives: Tensor

    @property
    def triples(self) -> Tensor:
        """(B, 1 + n) items, column 0 the positive."""
        return torch.cat([self.positives.unsqueeze(1), self.negatives], dim=1)

    def rows(self, users: Iterable[Tensor], items: Iterable[Tensor]) -> list[Tensor]:
        """The rows that a pairwise loss looks up, for the L2 term.

        Args:
            users: (U, d) tables.
            items: (I, d) tables.

        Returns:
            (B, d) the users' rows, and (B, 2, d) those of the positives and the first negatives.
        """
        of_users = [embedding(self.users, table) for table in users]
        return [*of_users, *(embedding(self.triples[:, :2], table) for table in items)]


class Scorer(ABC):
    """The ranking function of one branch: a frozen dataclass of tensors, stored by name.

    `Branch` is for models where s(u, i) is an inner product; `scorers.py` has the others.
    """

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """(U, I)."""

    @abstractmethod
    def scores(self, users: Tensor) -> Tensor:
        """(B,) users to their (B, I) scores, a new tensor. Callers may split B into blocks."""

    @abstractmethod
    def similarities(self, item: int) -> Tensor:
        """(I,) how much each item is like the given one."""

    def pairs(self, users: Tensor, items: Tensor) -> Tensor:
        """(P, n) scores of (P,) users and (P, n) items; any value where the item is -1."""
        return self.scores(users).gather(1, items.clamp(min=0))

    def fold_in(self, seen: UserItems) -> "FoldIn":
        """The function that makes a scorer of new users from their histories, without training.

        This default sums the similarities of each item to the history.

        Args:
            seen: the training items of the known users, to fit on.
        """
        return lambda histories: SimilarToHistory(self, histories)


FoldIn = Callable[[UserItems], Scorer]


@dataclass(frozen=True)
class SimilarToHistory(Scorer):
    """s(u, i) = sum_{j in N_u} of the similarity of i to j, for users of any history.

    Attributes:
        of_items: gives the similarities.
        histories: N_u.
    """

    of_items: Scorer
    histories: UserItems

    @property
    def shape(self) -> tuple[int, int]:
        """(U, I)."""
        return self.histories.n_users, self.histories.n_items

    def scores(self, users: Tensor) -> Tensor:
        """(B,) users to their (B, I) scores; a user without history scores 0."""
        return summed_similarities(self.histories, users, self.of_items.similarities)

    def similarities(self, item: int) -> Tensor:
        """(I,) those of the known scorer."""
        return self.of_items.similarities(item)


@dataclass(frozen=True)
class Branch(Scorer):
    """Final representations of one branch; s(u, i) = <p_u, q_i>.

    Attributes:
        p: (U, d) users.
        q: (I, d) items.
    """

    p: Tensor
    q: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """(U, I)."""
        return len(self.p), len(self.q)

    def scores(self, users: Tensor) -> Tensor:
        """(B,) users to their (B, I) scores."""
        return self.p[users] @ self.q.T

    def similarities(self, item: int) -> Tensor:
        """(I,) cosines of the item representations."""
        q = normalize(self.q, dim=1)
        return q @ q[item]

    def pairs(self, users: Tensor, items: Tensor) -> Tensor:
        """(P, n) scores of (P,) users and (P, n) items; any value where the item is -1."""
        return (self.p[users].unsqueeze(1) * self.q[items]).sum(dim=-1)

    def fold_in(self, seen: UserItems) -> FoldIn:
        """The p of a new user by `UserRegression` on q."""
        fitted = UserRegression.fit(seen, self.q, self.p)
        return lambda histories: Branch(fitted(histories), self.q)


class Recommender(nn.Module, ABC):
    """A recommender: a configuration, a loss on a batch, branches to rank by.

    A subclass is registered with `brmrs.extensions.register` and nests its hyper-parameters as
    `class Config(ModelSection)`. Its constructor takes `(data, config, *, seed)`. It initialises
    only from the seed, never from the global generator, and keeps what it needs of `data` as
    buffers or attributes. Write `needs`, `uses` and `trainable` as literals: they are read from the
    source.

    Attributes:
        Config: the configuration section of the model; its fields are the hyper-parameters.
        needs: the parts of `TrainingData` that it requires, of "features" (at least one modality),
            "item_graph", "user_graph", "modality_graphs" (at least one). `build` refuses data that
            lack one.
        uses: further parts that it reads where the data have them. Parts in neither list are not
            prepared: the stages that make them are left out of a run.
        trainable: False for a recommender that is complete once constructed.
        user_tables: parameters with a row per user, in the order of the dense ids; names that do
            not exist are ignored. A warm start matches their rows by raw id.
        item_tables: the same with a row per item.
        tables_held: how many tables of one embedding per user, item and channel training holds at
            its peak: value, gradient, Adam's moments, copies, and what layers keep for the
            backward pass; measured (tests/models/test_working_bytes.py).
        n_negatives: negatives that the sampler draws for each positive (Batch.negatives).
        by_dimension: whether it honours `TrainingData.columns`, so that several processes can train
            it (`train.processes`). `branches` then returns `Branch`es of this process's columns.
        columns: those of the training data.
        can_sample: whether it honours `TrainingData.sampled_neighbours`. Its loss then reads every
            table of users and items with `neighbourhood.read`, so that only the rows of the step
            have a gradient.
        sampled_neighbours: those of the training data.
    """

    Config: ClassVar[type[ModelSection]] = ModelSection
    needs: ClassVar[tuple[str, ...]] = ()
    uses: ClassVar[tuple[str, ...]] = ()
    trainable: ClassVar[bool] = True
    user_tables: ClassVar[tuple[str, ...]] = ("users",)
    item_tables: ClassVar[tuple[str, ...]] = ("items",)
    tables_held: ClassVar[int] = 16
    n_negatives: int = 1
    by_dimension: ClassVar[bool] = False
    columns: Columns = WHOLE
    can_sample: ClassVar[bool] = False
    sampled_neighbours: tuple[int, ...] = ()

    @classmethod
    def working_bytes(cls, data: TrainingData, config: ModelSection) -> int:
        """Estimated peak memory of construction and training beyond `data`, in bytes.

        By default `tables_held` tables of an embedding per user and item and channel, and a copy of
        the features. A recommender that holds more (a dense matrix over all items) overrides this;
        `build` refuses a model that does not fit into memory before it allocates anything.
        """
        channels = max(1, len(data.features))
        dim = data.columns.width(int(getattr(config, "dim", 0)))
        table = 4 * (data.users + data.items) * dim * channels
        return cls.tables_held * table + sum(x.nbytes for x in data.features.values())

    def learns_from(self, modality: str) -> bool:
        """Whether it reads the features of this modality, or graphs of them."""
        return bool(self.needs)

    def by_row(self) -> list[nn.Parameter]:
        """The parameters whose gradients are sparse: all tables if neighbours are sampled."""
        if not self.sampled_neighbours:
            return []
        named = dict(self.named_parameters())
        return [named[each] for each in (*self.user_tables, *self.item_tables) if each in named]

    def begin_epoch(self, generator: torch.Generator) -> None:
        """Called before each epoch, for random draws that last an epoch (edge dropout)."""

    @abstractmethod
    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """The objective's weighted terms, scalars; their sum is minimised.

        Any randomness (dropout) comes from `generator`, which is on the model's device. The trainer
        seeds it per epoch, so a resumed run has the same draws. Look up trained rows with
        `torch.nn.functional.embedding`. The gradient of `table[ids]` adds repeated rows in an order
        that depends on the threads, so runs would differ.
        """

    @abstractmethod
    def branches(self) -> Mapping[str, Scorer]:
        """The scorers to rank by: "fused" always, "text" and "visual" if the model has them.

        Deterministic; called without gradient.
        """
