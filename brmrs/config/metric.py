"""Names of metrics at a cut-off, such as `recall@20`."""

from collections.abc import Iterable
from difflib import get_close_matches

from brmrs.columns import METRICS


def checked(name: str, plugins: Iterable[str] = ()) -> str:
    """The name, if the metric exists.

    Args:
        name: METRIC@K.
        plugins: the metrics of plug-in files.

    Raises:
        ValueError: names the metrics there are.
    """
    kind, _, cut_off = name.partition("@")
    kinds = (*METRICS, *plugins)
    if kind in kinds and _positive(cut_off):
        return name
    near = get_close_matches(kind, kinds, 1)
    hint = f"; did you mean {near[0]}@{cut_off or 20}?" if near and near[0] != kind else ""
    raise ValueError(f"expected METRIC@K with K > 0 and METRIC one of {', '.join(kinds)}{hint}")


def _positive(cut_off: str) -> bool:
    return cut_off.isascii() and cut_off.isdigit() and cut_off[0] != "0"
