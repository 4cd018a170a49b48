"""The conditions under which numbers were measured, as text to print next to the numbers."""

from collections.abc import Mapping
from typing import Any

from brmrs.columns import MODALITIES, TEXT, VISUAL
from brmrs.config.data import IngestConfig, SplitConfig

NAMES = {TEXT: "text", VISUAL: "pictures"}


def positives(config: IngestConfig) -> str:
    """The interactions that count as positives."""
    if config.format == "ready-made":
        return "every interaction of the ready-made data set"
    if config.min_rating is None and config.format == "table":
        return "every interaction, whatever its rating (ingest.min_rating is not set)"
    if config.min_rating is None:
        return "every rating, one star included (ingest.min_rating is not set)"
    return f"ratings of at least {config.min_rating:g} (ingest.min_rating)"


def split(config: SplitConfig, *, dated: bool) -> str:
    """The split of the interactions, as text.

    Args:
        config: of the split.
        dated: whether every interaction has a date.
    """
    share = f"{100 * config.held_out:g} %"
    if config.protocol == "random":
        text = (
            f"random per user, {share} (at least two) held out, half of them for validation, half "
            f"for test; seed {config.seed}"
        )
        mixed = "; it ignores the dates, so training holds interactions later than the test's"
        return text + (mixed if dated else "")
    return {
        "leave-last-out": "each user's last interaction tests, the one before it validates",
        "time": f"one cut in time: the last {share} of all interactions are held out, the first "
        "half of them for validation, the second for test",
        "cold-items": f"{share} of the items are held out entirely, half of them for validation, "
        f"half for test; seed {config.seed}; each half is ranked among itself",
        "given": "as the data give it",
    }[config.protocol]


def learned_from(features: Mapping[str, Mapping[str, Any]]) -> str:
    """A model's modalities: "text and pictures", "text only" or "interactions only".

    Args:
        features: by modality, the entries of a bundle's `features`.
    """
    used = [NAMES[each] for each in MODALITIES if features.get(each, {}).get("used")]
    if not used:
        return "interactions only"
    return " and ".join(used) if len(used) > 1 else f"{used[0]} only"


def coverage(features: Mapping[str, Mapping[str, Any]]) -> str:
    """The vectors of each modality, and the number of items that have one.

    Args:
        features: as for `learned_from`; empty for a model that reads no features.
    """
    parts = []
    for modality in MODALITIES:
        if modality in features:
            of = features[modality]
            made = f"{of['label']}, " if of["present"] else ""
            parts.append(f"{modality}: {made}{of['present']:,} of {of['items']:,} items")
    return "; ".join(parts) or "none is read"
