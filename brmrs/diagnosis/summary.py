"""The headline numbers: `diagnosis.json`."""

from typing import Any

import numpy as np

from brmrs.columns import MODALITIES, TEXT, VISUAL
from brmrs.diagnosis import confusion, information, samplers
from brmrs.diagnosis.bootstrap import Estimate, Floats, estimates, per_user, resampled
from brmrs.diagnosis.measured import Measured
from brmrs.diagnosis.schemas import (
    ABOVE,
    DEGENERATION,
    KNOWN,
    NEGATIVES,
    PARTS,
    QUADRANTS,
    SAMPLERS,
    SETS,
    SYNERGY,
    UNIFORM,
)

DEFINITIONS = {
    "recall": "mean over the users of the share of their held-out items that a branch has in its "
    "first K",
    "confusion.by_score": "share of the negatives that score at least as high as the held-out item "
    "in exactly one of text and visual branch; above: the negatives that the fused first K have "
    "above it (all of them if it is not there), uniform: one drawn uniformly",
    "confusion.by_cosine": "the same share, where a modality confuses a negative whose cosine with "
    "the held-out item is among the largest top_share; only items that have both modalities",
    "sets": "mean over the users of the share of their held-out items in each set: the first K of "
    "the fused branch have it and, of text and visual, only_text, only_visual, both, or neither "
    "(synergy); the fused first K miss it and text or visual has it (degeneration), or none has",
    "degeneration": "share of the held-out items in the first K of text or visual that the fused "
    "first K miss",
    "synergy": "share of the held-out items in the fused first K that neither text nor visual has",
    "quadrants": "share of the negatives by the signs of the text and the visual margin; a margin "
    "of 0 does not separate",
    "samplers": "margin: mean margin of each branch in standard deviations of its margins against "
    "uniform negatives; not_separated: share of the margins that are at most 0; false_negatives: "
    "probability that the drawn item is held out for the user, exact for the trained scores",
    "information": "bits about which of a held-out item and a uniform negative is held out, by "
    "logistic regression on margins, fitted on validation; 1 is certainty",
}


def summary(measured: Measured) -> dict[str, Any]:
    """The numbers as JSON values; only those of the fused branch if there is no other."""
    found: dict[str, Any] = {
        "users": len(measured.test.users),
        "pairs": len(measured.test.items),
        "pool": measured.pool,
        "recall": _recall(measured),
    }
    if not measured.both_branches:
        return found
    return {
        **found,
        **_rates(measured),
        "confusion": {"by_score": _by_score(measured), "by_cosine": _by_cosine(measured)},
        "sets": _sets(measured),
        "quadrants": {kind: _quadrants(measured, kind) for kind in NEGATIVES},
        "samplers": _samplers(measured),
        "information": _information(measured),
        "margin_units": measured.units,
    }


def _recall(measured: Measured) -> dict[str, Any]:
    values = np.stack(list(measured.hits.values()), axis=1)
    return _named(measured.hits, _means(measured, values))


def _rates(measured: Measured) -> dict[str, Any]:
    in_set = {name: measured.sets == place for place, name in enumerate(SETS)}
    fused = measured.hits["fused"] > 0
    unimodal = np.any([measured.hits[m] > 0 for m in MODALITIES], axis=0)
    parts = np.stack([in_set[DEGENERATION], in_set[SYNERGY]], axis=1)
    wholes = np.stack([unimodal, fused], axis=1)
    return _named((DEGENERATION, SYNERGY), pooled(measured, parts, wholes))


def _sets(measured: Measured) -> dict[str, Any]:
    return _named(SETS, _means(measured, np.eye(len(SETS))[measured.sets]))


def _by_score(measured: Measured) -> dict[str, Any]:
    one = [q for q, name in enumerate(QUADRANTS) if name in ("text_separates", "visual_separates")]
    found = {}
    for kind in (ABOVE, UNIFORM):
        margins, kept = measured.against(kind)
        counts = confusion.quadrant_counts(margins[TEXT], margins[VISUAL], kept)
        found[kind] = _share(measured, counts[:, one].sum(axis=1), counts.sum(axis=1))
    return found


def _by_cosine(measured: Measured) -> dict[str, Any] | None:
    if not measured.compared:
        return None
    return {
        kind: _share(measured, (confused & kept).sum(dim=1).numpy(), kept.sum(dim=1).numpy())
        for kind, (kept, confused) in measured.compared.items()
    }


def _quadrants(measured: Measured, kind: str) -> dict[str, Any]:
    margins, kept = measured.against(kind)
    counts = confusion.quadrant_counts(margins[TEXT], margins[VISUAL], kept)
    wholes = np.repeat(counts.sum(axis=1, keepdims=True), len(QUADRANTS), axis=1)
    return _named(QUADRANTS, pooled(measured, counts, wholes))


def _samplers(measured: Measured) -> dict[str, Any]:
    rates: dict[str, float | None] = dict.fromkeys(SAMPLERS)
    if measured.all_ranked:
        scans = {0: measured.validation, 1: measured.test}
        rates = samplers.false_negative_rates(scans, measured.train, measured.pool)
    return {
        name: {"false_negatives": rates[name], **sampler_margins(measured, name)}
        for name in SAMPLERS
    }


def sampler_margins(measured: Measured, sampler: str) -> dict[str, Any]:
    """By measure and branch, the margins against the negatives of one sampler."""
    margins, _ = measured.against(sampler)
    scaled = [margins[name][:, 0].double().numpy() / measured.units[name] for name in margins]
    values = np.stack(scaled, axis=1)
    return {
        "margin": _named(margins, pooled(measured, values)),
        "not_separated": _named(margins, pooled(measured, values <= 0)),
    }


def _information(measured: Measured) -> dict[str, Any] | None:
    bits = measured.bits
    if bits is None:
        return None
    known, parts = information_samples(measured, np.ones(len(bits), dtype=bool))
    return {
        "known": _named(KNOWN, estimates(known)),
        "parts": _named(PARTS, estimates(parts)),
    }


def information_samples(measured: Measured, chosen: np.ndarray) -> tuple[Floats, Floats]:
    """(1 + R, 4) bits and (1 + R, 5) parts of the test pairs that are chosen, (P,) bool."""
    assert measured.bits is not None
    inside = chosen[:, None].astype(float)
    wholes = np.repeat(inside, len(KNOWN), axis=1)
    values = per_user(measured.users, measured.bits * inside)
    known = resampled(values, per_user(measured.users, wholes), measured.config.seed)
    return known, information.decomposition(known)


def pooled(measured: Measured, parts: Any, wholes: Any = None) -> list[Estimate]:
    """Sum of the (P, Q) parts over the sum of the wholes, (P, Q); 1 for each pair if None."""
    parts = np.asarray(parts, dtype=float)
    wholes = np.ones_like(parts) if wholes is None else np.asarray(wholes, dtype=float)
    of_parts, of_wholes = (per_user(measured.users, each) for each in (parts, wholes))
    return estimates(resampled(of_parts, of_wholes, measured.config.seed))


def _means(measured: Measured, values: Floats) -> list[Estimate]:
    """The means over users of the users' means of (P, Q) values."""
    if not measured.groups:
        return [Estimate(None, None, None)] * values.shape[1]
    shares = measured.groups[0].shares(measured.users, values)
    return estimates(resampled(*shares, measured.config.seed))


def _share(measured: Measured, part: Any, whole: Any) -> dict[str, Any]:
    """One pooled share, and the number of negatives that it is of."""
    (found,) = pooled(measured, part[:, None], whole[:, None])
    return {**found.plain(), "negatives": int(whole.sum())}


def _named(names: Any, found: list[Estimate]) -> dict[str, Any]:
    return {name: each.plain() for name, each in zip(names, found, strict=True)}
