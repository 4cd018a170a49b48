"""The selection metric: how good a branch is on the validation split."""

from collections.abc import Mapping

import torch
from torch import Tensor

from brmrs.errors import UserError
from brmrs.evaluation.metrics import NO_OTHERS, Metric, evaluated, measure
from brmrs.graphs.user_items import UserItems
from brmrs.models.base import Scorer
from brmrs.models.columns import WHOLE, Columns
from brmrs.training.trainer import Select


def selector(
    metric: str,
    validation: UserItems,
    train: UserItems,
    others: Mapping[str, Metric] = NO_OTHERS,
    among: Tensor | None = None,
    columns: Columns = WHOLE,
) -> Select:
    """The selection metric as a function of a branch.

    Args:
        metric: such as "recall@20".
        validation: the items to find.
        train: the items to mask.
        others: metrics of plug-ins, by name.
        among: (I,) bool, the items that are ranked; None: all.
        columns: of several processes, each ranks its share of the users.

    Raises:
        UserError: no user has a validation item.
    """
    if len(validation.items) == 0:
        raise UserError(
            "the split has no validation interactions to select the model by; raise split.held_out "
            "or give more interactions per user (ingest.k)"
        )
    kind, _, number = metric.partition("@")
    k, used = int(number), {name: each for name, each in others.items() if name == kind}
    own = _share(validation, columns)

    def select(branch: Scorer) -> float:
        values = measure(branch, own, train, (k,), used, among)[metric]
        if columns.workers == 1:
            return float(values.mean())
        sums = columns.everywhere((float(values.sum()), len(values)))
        total, count = (sum(column) for column in zip(*sums, strict=True))
        return float(total / count)

    return select


def _share(validation: UserItems, columns: Columns) -> UserItems:
    """The same items of every W-th user that has any, and of no other."""
    if columns.workers == 1:
        return validation
    users = evaluated(validation)
    own = torch.zeros(validation.n_users, dtype=torch.bool, device=users.device)
    own[users[columns.worker :: columns.workers]] = True
    mine = own[validation.users]
    return UserItems.from_pairs(
        validation.users[mine], validation.items[mine], validation.n_users, validation.n_items
    )
