"""Names of metrics at a cut-off, such as `recall@20`."""

from collections.abc import Iterable

from brmrs.columns import METRICS
from brmrs.suggest import did_you_mean, nearest


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
    near = [f"{name}@{cut_off or 20}" for name in nearest(kind, kinds) if name != kind]
    hint = did_you_mean(near)
    raise ValueError(f"expected METRIC@K with K > 0 and METRIC one of {', '.join(kinds)}{hint}")


def _positive(cut_off: str) -> bool:
    return cut_off.isascii() and cut_off.isdigit() and cut_off[0] != "0"
