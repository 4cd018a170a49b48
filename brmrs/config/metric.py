"""Names of metrics at a cut-off, such as `recall@20`."""

from difflib import get_close_matches

from brmrs.columns import METRICS


def checked(name: str) -> str:
    """The name itself, if there is such a metric.

    Raises:
        ValueError: names the metrics there are.
    """
    kind, _, cut_off = name.partition("@")
    if kind in METRICS and cut_off.isascii() and cut_off.isdigit() and cut_off[0] != "0":
        return name
    near = get_close_matches(kind, METRICS, 1)
    hint = f"; did you mean {near[0]}@{cut_off or 20}?" if near and near[0] != kind else ""
    raise ValueError(f"expected METRIC@K with K > 0 and METRIC one of {', '.join(METRICS)}{hint}")
