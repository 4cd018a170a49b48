"""The text cells of a comparison, for the terminal and for Prefect's page."""

from typing import Any

from brmrs import columns

SHOWN_CUT_OFFS = 2  # the largest; --json has all
SHOWN_METRICS = ("recall", "ndcg")


def cells(row: dict[str, Any], result: dict[str, Any]) -> dict[str, str]:
    """One row of the table of `brmrs.experiments.compare.table`, by column name."""
    headline = result["headline"]
    shown = {
        "model": row["model"],
        "settings": "tuned" if row["tuned"] else "as set" if row["files"] else "default",
        "seeds": f"{len(row['seeds'])} of {len(row['seeds']) + len(row['faults'])}",
        f"validation {headline}": _spread(row["validation"].get(headline)),
    }
    measured = {name for each in result["rows"] for name in each["test"]}
    cut_offs = sorted({int(name.partition("@")[2]) for name in measured})[-SHOWN_CUT_OFFS:]
    for name in (columns.metric(kind, k) for kind in SHOWN_METRICS for k in cut_offs):
        shown[f"test {name}"] = _spread(row["test"].get(name))
    against = row.get("against_reference")
    shown["difference"] = f"{against['difference']:+.4f}" if against else ""
    shown["95 % interval"] = f"{against['low']:+.4f} to {against['high']:+.4f}" if against else ""
    shown["p"] = f"{against['p_holm']:.2g}" if against else ""
    shown["learned from"] = row["learned_from"]
    shown["s/epoch"] = _spread(row["seconds_per_epoch"], 2)
    shown["best epoch"] = ", ".join(map(str, row["best_epochs"]))
    return shown


def _spread(value: dict[str, Any] | None, digits: int = 4) -> str:
    if value is None:
        return ""
    deviation = value["deviation"]
    text = f"{value['mean']:.{digits}f}"
    return text if deviation is None else f"{text} ± {deviation:.{digits}f}"
