"""The stage `evaluate`: metrics of the model, of each branch, and of the most-popular baseline.

Test metrics are computed only here.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

from brmrs.columns import (
    BASELINE,
    BRANCH,
    FUSED,
    ITEM,
    SPLIT,
    SPLIT_NAMES,
    STRATA,
    TEST,
    USER,
    VALIDATION,
    metric,
    per_user,
)
from brmrs.evaluation import lists, strata
from brmrs.evaluation.coverage import Coverage, coverage
from brmrs.evaluation.metrics import (
    COLD_ITEMS,
    NO_OTHERS,
    Metric,
    definitions,
    evaluated,
    means,
    of_lists,
    of_plugins,
)
from brmrs.evaluation.paired import interval
from brmrs.evaluation.ranking import ranked_items, top_k
from brmrs.graphs.user_items import UserItems
from brmrs.models import bundle
from brmrs.models.base import Scorer
from brmrs.models.most_popular import popularity
from brmrs.stages import SPLIT as SPLIT_FILE
from brmrs.stages import StageContext
from brmrs.system.files import write_json, write_parquet

METRICS_FILE = "metrics.json"
PER_USER_FILE = "per_user.parquet"
STRATA_FILE = "strata.parquet"

# By split, by branch (or baseline): (B, K) ranked items of the users that are evaluated.
Lists = dict[int, dict[str, Tensor]]
# Per-user values by metric name, by branch (or baseline), by split.
Values = dict[int, dict[str, dict[str, Tensor]]]
Present = dict[str, NDArray[np.bool_]]


def run(context: StageContext) -> None:
    """Rank all items for all users with every branch, and write the metrics."""
    model = bundle.load(context.inputs["train"])
    users, items = len(model.about.users), len(model.about.items)
    held_out = {
        part: UserItems.read(context.inputs[SPLIT_FILE], part, users, items)
        for part in (VALIDATION, TEST)
    }
    cut_offs = tuple(sorted(set(context.config.evaluate.k)))
    plugins = context.config.plugins
    others = of_plugins(plugins)
    features = lists.read_features(context.inputs)
    present = {name: each.present.numpy() for name, each in features.items()}
    protocol = context.config.split.protocol
    ranked = rank(model, held_out, max(cut_offs), protocol)
    values = evaluate(ranked, held_out, cut_offs, others)
    metrics = summary(model, held_out, values)
    cold = protocol == "cold-items"
    metrics["ranking"] = "new items among themselves" if cold else "all-ranking"
    metrics["intervals"] = intervals(values, max(cut_offs))
    metrics["lists"] = describe(model, held_out, ranked, features)
    metrics["definitions"] = {
        **definitions(plugins),
        **({"protocol": COLD_ITEMS} if cold else {}),
        "lists": lists.DEFINITIONS,
        "strata": strata.DEFINITIONS,
    }
    metrics["coverage"] = read_coverage(context.inputs, present)
    write_json(context.out / METRICS_FILE, metrics)
    schema, columns = per_user(cut_offs, others), table(held_out, values)
    write_parquet(context.out / PER_USER_FILE, schema, columns)
    rows = in_strata(model, held_out, ranked, present, context.inputs[SPLIT_FILE])
    pq.write_table(pa.Table.from_pylist(rows, STRATA), context.out / STRATA_FILE)


def read_coverage(inputs: Mapping[str, Path], present: Present) -> dict[str, Coverage]:
    """The coverage of each modality that the run has."""
    split = pq.read_table(inputs[SPLIT_FILE], columns=[ITEM, SPLIT])
    return coverage(present, split[ITEM].to_numpy(), split[SPLIT].to_numpy())


def rank(
    model: bundle.Bundle, held_out: Mapping[int, UserItems], k: int, protocol: str = "random"
) -> Lists:
    """The first K items of every branch and of the baseline, for the users of every split.

    Args:
        model: the bundle.
        held_out: by part.
        k: K.
        protocol: `split.protocol`.
    """
    popular = popularity(model.seen.items, len(model.about.users), len(model.about.items))
    scorers: dict[str, Scorer] = {**dict(sorted(model.branches.items())), BASELINE: popular}
    users = {part: evaluated(relevant) for part, relevant in held_out.items()}
    if protocol == "cold-items":  # each part ranks its own items
        among = {part: ranked_items(protocol, relevant) for part, relevant in held_out.items()}
        return {
            part: {
                name: top_k(scorer, users[part], k, model.seen, among[part])[0]
                for name, scorer in scorers.items()
            }
            for part in held_out
        }
    everyone = torch.unique(torch.cat(list(users.values())))
    lists = {name: top_k(scorer, everyone, k, model.seen)[0] for name, scorer in scorers.items()}
    return {
        part: {name: items[torch.searchsorted(everyone, chosen)] for name, items in lists.items()}
        for part, chosen in users.items()
    }


def evaluate(
    ranked: Lists,
    held_out: Mapping[int, UserItems],
    cut_offs: tuple[int, ...],
    others: Mapping[str, Metric] = NO_OTHERS,
) -> Values:
    """Per-user metrics of every branch and of the baseline on every split."""
    return {
        part: {
            name: of_lists(items, held_out[part], cut_offs, others) for name, items in each.items()
        }
        for part, each in ranked.items()
    }


def summary(
    model: bundle.Bundle, held_out: Mapping[int, UserItems], values: Values
) -> dict[str, Any]:
    """The sizes and the means in `metrics.json`."""
    names = {part: SPLIT_NAMES[part] for part in held_out}
    all_means = {
        scorer: {name: means(values[part][scorer]) for part, name in names.items()}
        for scorer in (*model.branches, BASELINE)
    }
    branches = {name: all_means[name] for name in model.branches}
    return {
        "model": model.about.model["name"],
        "features": {
            modality: feature.model_dump() for modality, feature in model.about.features.items()
        },
        "users": {name: len(evaluated(held_out[part])) for part, name in names.items()},
        **branches[FUSED],
        "branches": branches,
        "baseline": {BASELINE: all_means[BASELINE]},
    }


def intervals(values: Values, k: int) -> dict[str, dict[str, dict[str, tuple[float, float]]]]:
    """The 95 % bootstrap intervals of Recall@K and NDCG@K over the users, by branch and split."""
    found: dict[str, dict[str, dict[str, tuple[float, float]]]] = {}
    for part, branches in values.items():
        for branch, metrics in branches.items():
            found.setdefault(branch, {})[SPLIT_NAMES[part]] = {
                name: interval(metrics[name].numpy())
                for name in (metric("recall", k), metric("ndcg", k))
                if len(metrics[name])
            }
    return found


def describe(
    model: bundle.Bundle,
    held_out: Mapping[int, UserItems],
    ranked: Lists,
    features: Mapping[str, lists.Features],
) -> dict[str, dict[str, dict[str, float | None]]]:
    """What the lists of the fused branch and of the baseline are like, by split."""
    found: dict[str, dict[str, dict[str, float | None]]] = {}
    sizes = [len(evaluated(relevant)) for relevant in held_out.values()]
    for name in (FUSED, BASELINE):
        # A user's list is the same in both splits, so both are computed together.
        together = torch.cat([ranked[part][name] for part in held_out])
        diverse = {
            m: torch.split(lists.diversity(together, each), sizes) for m, each in features.items()
        }
        found[name] = {
            SPLIT_NAMES[part]: lists.describe(
                ranked[part][name],
                evaluated(relevant),
                model.seen,
                {m: values[place] for m, values in diverse.items()},
            )
            for place, (part, relevant) in enumerate(held_out.items())
        }
    return found


def in_strata(
    model: bundle.Bundle,
    held_out: Mapping[int, UserItems],
    ranked: Lists,
    present: Present,
    split: Path,
) -> list[dict[str, Any]]:
    """The rows of `strata.parquet`: Recall@K of every branch and of the baseline."""
    rows: list[dict[str, Any]] = []
    for part, relevant in held_out.items():
        chosen = strata.of_split(part, relevant, model.seen, present, split)
        rows += strata.rows(part, ranked[part], relevant, chosen)
    return rows


def table(held_out: Mapping[int, UserItems], values: Values) -> dict[str, np.ndarray]:
    """The columns of `per_user.parquet`, sorted by user, split and branch."""
    parts: dict[str, list[np.ndarray]] = {}
    for part, branches in values.items():
        users = evaluated(held_out[part]).numpy()
        for branch, metrics in branches.items():
            if branch == BASELINE:
                continue  # the table is of the model
            columns = {USER: users, SPLIT: np.full(len(users), part)}
            columns[BRANCH] = np.full(len(users), branch)
            columns |= {name: value.numpy() for name, value in metrics.items()}
            for name, column in columns.items():
                parts.setdefault(name, []).append(column)
    joined = {name: np.concatenate(columns) for name, columns in parts.items()}
    order = np.lexsort((joined[BRANCH], joined[SPLIT], joined[USER]))
    return {name: column[order] for name, column in joined.items()}
