"""Coverage: the share of the data that has each modality."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from brmrs.columns import SPLIT_NAMES

Coverage = dict[str, float | None]


def coverage(
    present: Mapping[str, NDArray[np.bool_]],
    items: NDArray[np.integer],
    split: NDArray[np.integer],
) -> dict[str, Coverage]:
    """The share of the items that have a modality, and of the interactions with such items.

    Args:
        present: by modality, the (I,) mask.
        items: (N,) the item of each interaction.
        split: (N,) its part of the split.

    Returns:
        By modality: "items", "interactions", and the interactions of each part of the split. A
        share of nothing is None.
    """
    return {
        modality: {
            "items": _share(mask),
            "interactions": _share(mask[items]),
            **{name: _share(mask[items[split == part]]) for part, name in SPLIT_NAMES.items()},
        }
        for modality, mask in present.items()
    }


def _share(mask: NDArray[np.bool_]) -> float | None:
    return round(float(mask.mean()), 6) if len(mask) else None
