"""The stage `evaluate`: metrics of the model, of each branch, and of the most-popular baseline.

Test metrics are computed only here.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from torch import Tensor

from brmrs.columns import (
    BRANCH,
    FUSED,
    ITEM,
    MODALITIES,
    SPLIT,
    SPLIT_NAMES,
    TEST,
    USER,
    VALIDATION,
    per_user,
)
from brmrs.evaluation import diagnosis
from brmrs.evaluation.coverage import Coverage, coverage
from brmrs.evaluation.metrics import (
    NO_OTHERS,
    Metric,
    definitions,
    evaluated,
    means,
    measure,
    of_plugins,
)
from brmrs.features.feature_table import presence
from brmrs.graphs.user_items import UserItems
from brmrs.models import bundle
from brmrs.models.most_popular import popularity
from brmrs.stages import FEATURE_TABLES, StageContext
from brmrs.stages import SPLIT as SPLIT_FILE
from brmrs.system.files import write_json, write_parquet

METRICS_FILE = "metrics.json"
PER_USER_FILE = "per_user.parquet"

# Per-user values by metric name, by branch, by split.
Values = dict[int, dict[str, dict[str, Tensor]]]


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
    values = evaluate(model, held_out, cut_offs, others)
    metrics = summary(model, held_out, values, cut_offs, others)
    metrics["definitions"] = definitions(plugins)
    metrics["coverage"] = read_coverage(context.inputs)
    if set(MODALITIES) <= set(model.branches):
        metrics["diagnosis"] = diagnose(model, held_out, max(cut_offs))
    write_json(context.out / METRICS_FILE, metrics)
    schema, columns = per_user(cut_offs, others), table(held_out, values)
    write_parquet(context.out / PER_USER_FILE, schema, columns)


def read_coverage(inputs: Mapping[str, Path]) -> dict[str, Coverage]:
    """The coverage of each modality that the model may read."""
    split = pq.read_table(inputs[SPLIT_FILE], columns=[ITEM, SPLIT])
    present = {
        name: presence(inputs[table]) for name, table in FEATURE_TABLES.items() if table in inputs
    }
    return coverage(present, split[ITEM].to_numpy(), split[SPLIT].to_numpy())


def evaluate(
    model: bundle.Bundle,
    held_out: Mapping[int, UserItems],
    cut_offs: tuple[int, ...],
    others: Mapping[str, Metric] = NO_OTHERS,
) -> Values:
    """Per-user metrics of every branch on every split."""
    return {
        part: {
            name: measure(branch, relevant, model.seen, cut_offs, others)
            for name, branch in sorted(model.branches.items())
        }
        for part, relevant in held_out.items()
    }


def summary(
    model: bundle.Bundle,
    held_out: Mapping[int, UserItems],
    values: Values,
    cut_offs: tuple[int, ...],
    others: Mapping[str, Metric] = NO_OTHERS,
) -> dict[str, Any]:
    """The content of `metrics.json`."""
    names = {part: SPLIT_NAMES[part] for part in held_out}
    branches = {
        branch: {name: means(values[part][branch]) for part, name in names.items()}
        for branch in model.branches
    }
    popular = popularity(model.seen.items, len(model.about.users), len(model.about.items))
    return {
        "model": model.about.model["name"],
        "features": {
            modality: feature.model_dump() for modality, feature in model.about.features.items()
        },
        "users": {name: len(evaluated(held_out[part])) for part, name in names.items()},
        **branches[FUSED],
        "branches": branches,
        "baseline": {
            "most-popular": {
                name: means(measure(popular, held_out[part], model.seen, cut_offs, others))
                for part, name in names.items()
            }
        },
    }


def diagnose(model: bundle.Bundle, held_out: Mapping[int, UserItems], k: int) -> dict[str, Any]:
    """Modality inconsistency on each split, for a model with two unimodal branches."""
    rates = {
        SPLIT_NAMES[part]: diagnosis.diagnose(model.branches, relevant, model.seen, k)
        for part, relevant in held_out.items()
    }
    return {"k": k, "definitions": diagnosis.DEFINITIONS, **rates}


def table(held_out: Mapping[int, UserItems], values: Values) -> dict[str, np.ndarray]:
    """The columns of `per_user.parquet`, sorted by user, split and branch."""
    parts: dict[str, list[np.ndarray]] = {}
    for part, branches in values.items():
        users = evaluated(held_out[part]).numpy()
        for branch, metrics in branches.items():
            columns = {USER: users, SPLIT: np.full(len(users), part)}
            columns[BRANCH] = np.full(len(users), branch)
            columns |= {name: value.numpy() for name, value in metrics.items()}
            for name, column in columns.items():
                parts.setdefault(name, []).append(column)
    joined = {name: np.concatenate(columns) for name, columns in parts.items()}
    order = np.lexsort((joined[BRANCH], joined[SPLIT], joined[USER]))
    return {name: column[order] for name, column in joined.items()}
