"""Finished runs against the first of them, on the same users: `brmrs compare`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from brmrs import columns
from brmrs.errors import UserError
from brmrs.evaluation.comparison import Floats, compare
from brmrs.stages import SPLIT, USERS
from brmrs.store.artifacts import ArtifactStore
from brmrs.store.runs import Run
from brmrs.store.tables import read_per_user

PER_USER = "evaluate/per_user.parquet"
KINDS = ("recall", "ndcg")
DEFINITIONS = {
    "difference": "mean over the users of the run's metric minus that of the first run",
    "low, high": "95 % percentile interval of the difference by a paired bootstrap over the users",
    "effect": "rank-biserial correlation: 1 if every user whose value changed gained, -1 if all "
    "lost",
    "p (Holm)": "Wilcoxon signed-rank test, corrected by Holm for all comparisons",
    "p (BH)": "the same test, corrected by Benjamini and Hochberg for the false discovery rate",
}


def compare_runs(runs: Sequence[Run], store: ArtifactStore, part: int) -> dict[str, Any]:
    """Compare every run with the first one, by Recall and NDCG at the largest common cut-off.

    Args:
        runs: at least two, evaluated, over the same users and the same split.
        store: that holds their artifacts.
        part: the split whose metrics to compare, TEST or VALIDATION.

    Returns:
        JSON values: one row per run, and the meaning of its columns.

    Raises:
        UserError: fewer than two runs, or they cannot be compared.
    """
    if len(runs) < 2:
        raise UserError("name at least two runs to compare; brmrs runs lists them")
    for run in runs[1:]:
        _refuse_other_data(runs[0], run)
    tables = [_per_user(run, store, part) for run in runs]
    metrics = _common_metrics(tables)
    users = tables[0][columns.USER]
    if not len(users):
        raise UserError(f"the runs have no users with {columns.SPLIT_NAMES[part]} interactions")
    found = compare(
        {
            (number, name): table[name] - tables[0][name]
            for number, table in enumerate(tables[1:], start=1)
            for name in metrics
        }
    )
    rows = [
        {
            "run": run.name,
            "model": run.config["model"]["name"],
            "seed": run.config["train"]["seed"],
            "values": {name: float(table[name].mean()) for name in metrics},
            "against_first": {
                name: found[number, name].plain() for name in metrics if (number, name) in found
            },
        }
        for number, (run, table) in enumerate(zip(runs, tables, strict=True))
    ]
    return {
        "data": runs[0].config["name"],
        "split": columns.SPLIT_NAMES[part],
        "users": len(users),
        "metrics": metrics,
        "comparisons": len(found),
        "definitions": DEFINITIONS,
        "rows": rows,
    }


def _refuse_other_data(first: Run, other: Run) -> None:
    """Refuse runs whose users or held-out items differ.

    Raises:
        UserError: they do.
    """
    for read, what in ((USERS, "users"), (SPLIT, "split")):
        stage, _, file = read.partition("/")
        digests = {run.artifact(stage).files.get(file) for run in (first, other)}
        if len(digests) > 1:
            raise UserError(
                f"run {other.name} ({other.config['name']}) has other {what} than run "
                f"{first.name} ({first.config['name']}); compare runs of one data set and split"
            )
    if len({_ranks_new_items(run) for run in (first, other)}) > 1:
        raise UserError(
            f"run {other.name} and run {first.name} rank different items: one of them has "
            "split.protocol=cold-items, which ranks new items among themselves"
        )


def _ranks_new_items(run: Run) -> bool:
    split: dict[str, Any] = run.config.get("split", {})
    return split.get("protocol") == "cold-items"


def _per_user(run: Run, store: ArtifactStore, part: int) -> dict[str, Floats]:
    """The user ids and the fused branch's metrics of one split, by column name.

    Raises:
        UserError: the run was not evaluated, `brmrs gc` removed the table, or it is damaged.
    """
    path: Path = store.path(run.artifact("evaluate"), PER_USER)
    if not path.is_file():
        raise UserError(
            f"run {run.name}: its per-user metrics were removed from the store; run the pipeline "
            "with its configuration again"
        )
    wanted = [(columns.BRANCH, "==", columns.FUSED), (columns.SPLIT, "==", part)]
    table = read_per_user(path, wanted).sort_by(columns.USER)
    names = [name for name in table.column_names if name not in (columns.SPLIT, columns.BRANCH)]
    return {name: table[name].to_numpy() for name in names}


def _common_metrics(tables: Sequence[dict[str, np.ndarray]]) -> list[str]:
    """Recall and NDCG at the largest cut-off that all runs have.

    Raises:
        UserError: there is none.
    """
    common = set(tables[0]).intersection(*tables[1:])
    cut_offs = {int(name.partition("@")[2]) for name in common if "@" in name}
    if not cut_offs:
        raise UserError("the runs have no cut-off in common (evaluate.k)")
    return [columns.metric(kind, max(cut_offs)) for kind in KINDS]
