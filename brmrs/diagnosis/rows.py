"""The rows of the tables of the diagnosis (see `schemas`)."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from brmrs import columns
from brmrs.columns import MODALITIES, TEST, TEXT, VISUAL
from brmrs.diagnosis import schemas
from brmrs.diagnosis.bootstrap import estimates, resampled
from brmrs.diagnosis.confusion import EDGES, histogram
from brmrs.diagnosis.measured import Measured
from brmrs.diagnosis.schemas import BRANCHES, KNOWN, NEGATIVE, NEGATIVES, PARTS, SAMPLERS, SETS
from brmrs.diagnosis.summary import information_samples, sampler_margins

TYPES = columns.STRATA  # the schema of types.parquet


def pairs(measured: Measured) -> Iterator[dict[str, Any]]:
    """The rows of `pairs.parquet`."""
    test = measured.test
    users, items = test.users[test.rows].numpy(), measured.positives.numpy()
    types = measured.types if measured.types is not None else [None] * len(items)
    found: dict[str, Any] = {columns.USER: users, columns.ITEM: items}
    found[schemas.SET] = np.array(SETS)[measured.sets]
    found[columns.TYPE] = types
    found |= {f"{branch}_score": test.scores[branch][:, 0].numpy() for branch in BRANCHES}
    found |= {f"{branch}_rank": test.ranks[branch].numpy() for branch in BRANCHES}
    found |= _confusion(measured)
    plain = [x if isinstance(x, list) else x.tolist() for x in found.values()]
    for row in zip(*plain, strict=True):  # by user and item, as the pairs are
        yield dict(zip(found, row, strict=True))


def _confusion(measured: Measured) -> dict[str, Any]:
    """Counts of negatives above the positive, and the first that one modality confuses."""
    margins, above = measured.against(schemas.ABOVE)
    confused = {m: margins[m] <= 0 for m in MODALITIES}
    by_score = (confused[TEXT] ^ confused[VISUAL]) & above
    nothing = np.zeros(len(above), dtype=np.int64)
    compared, by_cosine = nothing, nothing
    if measured.compared:
        kept, of_cosine = measured.compared[schemas.ABOVE]
        compared, by_cosine = (each.sum(dim=1).numpy() for each in (kept, of_cosine & kept))
    found: dict[str, Any] = {
        schemas.ABOVE_COUNT: above.sum(dim=1).numpy(),
        schemas.CONFUSED_BY_SCORE: by_score.sum(dim=1).numpy(),
        schemas.COMPARED: compared,
        schemas.CONFUSED_BY_COSINE: by_cosine,
    }
    there = by_score.any(dim=1).numpy()
    place = by_score.int().argmax(dim=1, keepdim=True)
    return found | _first_confused(measured, place, there, confused[TEXT])


def _first_confused(measured: Measured, place: Any, there: Any, by_text: Any) -> dict[str, Any]:
    """The columns of the negative in the (P, 1) place of the fused list; null where not there."""
    items = measured.lists.gather(1, place)
    which = np.where(by_text.gather(1, place)[:, 0].numpy(), TEXT, VISUAL)
    found: dict[str, Any] = {
        NEGATIVE: _where(there, items[:, 0].numpy()),
        schemas.CONFUSES: _where(there, which),
    }
    for branch in BRANCHES:
        scores = measured.test.list_scores[branch][measured.test.rows].gather(1, place)
        found[f"{NEGATIVE}_{branch}_score"] = _where(there, scores[:, 0].numpy())
    for m in MODALITIES:
        column = f"{NEGATIVE}_{m}_cosine"
        if measured.cosines is None:
            found[column] = [None] * len(there)
            continue
        comparable = measured.cosines.comparable(measured.positives, items)[:, 0].numpy() & there
        cosines = measured.cosines.pairs(m, measured.positives, items[:, 0].clamp(min=0))
        found[column] = _where(comparable, cosines.numpy())
    return found


def sets(measured: Measured) -> Iterator[dict[str, Any]]:
    """The rows of `sets.parquet`: the share of each set in each group, mean over users."""
    values = np.eye(len(SETS))[measured.sets]
    yield from _of_groups(measured, values, SETS, schemas.SET)


def recall(measured: Measured) -> list[dict[str, Any]]:
    """The rows of `types.parquet`: Recall@K of each branch by planted type; none without truth."""
    values = np.stack(list(measured.hits.values()), axis=1)
    rows = _of_groups(measured, values, list(measured.hits), columns.BRANCH)
    name = columns.metric("recall", measured.config.k)
    return [
        {columns.SPLIT: TEST, columns.NAME: name, **row}
        for row in rows
        if row[columns.DIMENSION] == columns.TYPE
    ]


def margins(measured: Measured) -> list[dict[str, Any]]:
    """The rows of `margins.parquet`: bins of the two-dimensional histogram that hold a margin."""
    rows = []
    for kind in NEGATIVES:
        counts = histogram(*measured.margin_pairs(kind))
        for text, visual in zip(*counts.nonzero(), strict=True):
            rows.append(
                {
                    schemas.NEGATIVE_KIND: kind,
                    schemas.TEXT_LOW: float(EDGES[text]),
                    schemas.TEXT_HIGH: float(EDGES[text + 1]),
                    schemas.VISUAL_LOW: float(EDGES[visual]),
                    schemas.VISUAL_HIGH: float(EDGES[visual + 1]),
                    schemas.COUNT: int(counts[text, visual]),
                }
            )
    return rows


def sampler_rows(measured: Measured) -> list[dict[str, Any]]:
    """The rows of `samplers.parquet`."""
    return [
        {schemas.SAMPLER: sampler, columns.BRANCH: branch, schemas.MEASURE: measure, **found}
        for sampler in SAMPLERS
        for measure, branches in sampler_margins(measured, sampler).items()
        for branch, found in branches.items()
        if found[columns.VALUE] is not None
    ]


def information(measured: Measured) -> list[dict[str, Any]]:
    """The rows of `information.parquet`: bits and parts in each group."""
    rows: list[dict[str, Any]] = []
    if measured.bits is None:
        return rows
    for group in measured.groups:
        samples = np.concatenate(information_samples(measured, group.pairs), axis=1)
        for quantity, found in zip((*KNOWN, *PARTS), estimates(samples), strict=True):
            rows.append(
                {
                    columns.DIMENSION: group.dimension,
                    columns.STRATUM: group.name,
                    schemas.QUANTITY: quantity,
                    columns.N_USERS: group.users(measured.users),
                    columns.N_PAIRS: int(group.pairs.sum()),
                    **found.plain(),
                }
            )
    return rows


def _of_groups(
    measured: Measured, values: Any, names: Any, column: str
) -> Iterator[dict[str, Any]]:
    """A row per group and name, for (P, Q) values: means over users of the users' means."""
    if not measured.groups:
        return
    shares = [group.shares(measured.users, values) for group in measured.groups]
    parts, wholes = (np.concatenate(each, axis=1) for each in zip(*shares, strict=True))
    found = iter(estimates(resampled(parts, wholes, measured.config.seed)))
    for group in measured.groups:
        for name in names:
            yield {
                columns.DIMENSION: group.dimension,
                columns.STRATUM: group.name,
                column: name,
                columns.N_USERS: group.users(measured.users),
                columns.N_PAIRS: int(group.pairs.sum()),
                **next(found).plain(),
            }


def _where(there: Any, values: Any) -> list[Any]:
    return [value if ok else None for ok, value in zip(there, values.tolist(), strict=True)]
