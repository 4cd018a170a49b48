"""The stage `diagnosis`: modality inconsistency on the test split (docs/diagnosis.md).

Validation pairs fit the regression of `information`; everything else is of test pairs.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from brmrs.columns import FUSED, MODALITIES, MODEL, TEST, VALIDATION
from brmrs.config.learning import DiagnosisConfig
from brmrs.diagnosis import rows, samplers, scan
from brmrs.diagnosis.confusion import Cosines
from brmrs.diagnosis.groups import groups, planted_types
from brmrs.diagnosis.measured import Measured
from brmrs.diagnosis.schemas import (
    DIAGNOSIS_FILE,
    INFORMATION,
    INFORMATION_FILE,
    MARGINS,
    MARGINS_FILE,
    PAIRS,
    PAIRS_FILE,
    SAMPLER_MARGINS,
    SAMPLERS_FILE,
    SET_SHARES,
    SETS_FILE,
    TYPES_FILE,
)
from brmrs.diagnosis.summary import DEFINITIONS, summary
from brmrs.evaluation import strata
from brmrs.evaluation.lists import read_features
from brmrs.graphs.user_items import UserItems
from brmrs.models import bundle
from brmrs.models.base import Scorer
from brmrs.stages import SPLIT, StageContext
from brmrs.system.files import write_json

NEGATIVES = 8  # drawn for each pair at least

Rows = Iterable[dict[str, Any]]


def run(context: StageContext) -> None:
    """Scan the branches, and write `diagnosis.json` and the tables of `schemas`."""
    config = context.config.diagnosis
    model = bundle.load(context.inputs["train"])
    measured = measure(model, context.inputs, config, context.config.split.protocol)
    about = {
        "model": model.about.model["name"],
        "cannot": cannot(model),
        "fused": fused_name(model),
        "k": config.k,
        "top_share": config.top_share,
        "seed": config.seed,
    }
    write_json(
        context.out / DIAGNOSIS_FILE, {**about, **summary(measured), "definitions": DEFINITIONS}
    )
    tables: dict[str, tuple[pa.Schema, Rows]] = {TYPES_FILE: (rows.TYPES, rows.recall(measured))}
    if not about["cannot"]:
        tables |= {
            PAIRS_FILE: (PAIRS, rows.pairs(measured)),
            SETS_FILE: (SET_SHARES, rows.sets(measured)),
            MARGINS_FILE: (MARGINS, rows.margins(measured)),
            SAMPLERS_FILE: (SAMPLER_MARGINS, rows.sampler_rows(measured)),
            INFORMATION_FILE: (INFORMATION, rows.information(measured)),
        }
    for file, (schema, content) in tables.items():
        pq.write_table(pa.Table.from_pylist(list(content), schema), context.out / file)


def measure(
    model: bundle.Bundle, inputs: Mapping[str, Path], config: DiagnosisConfig, protocol: str
) -> Measured:
    """Rank with every branch, and gather what all numbers are made of."""
    users, items = len(model.about.users), len(model.about.items)
    held_out = {
        part: UserItems.read(inputs[SPLIT], part, users, items) for part in (VALIDATION, TEST)
    }
    pool = samplers.pool_of(model.about.model)
    negatives = max(NEGATIVES, min(pool, samplers.DRAWN))
    scans = scan.by_part(
        branches(model),
        held_out,
        model.seen,
        protocol,
        k=config.k,
        negatives=negatives,
        seed=config.seed,
    )
    test = scans[TEST]
    pair_users, positives = test.users[test.rows], test.items[:, 0]
    features = read_features(inputs)
    present = {name: each.present.numpy() for name, each in features.items()}
    types = planted_types(config.truth, model, pair_users, positives) if config.truth else None
    of_split = strata.of_split(TEST, held_out[TEST], model.seen, present, inputs[SPLIT])
    cosines = None
    if set(features) == set(MODALITIES):
        cosines = Cosines.of(features, config.top_share, positives)
    return Measured(
        scans[VALIDATION],
        test,
        held_out,
        model.seen,
        config,
        pool,
        protocol != "cold-items",
        groups(len(positives), of_split, types),
        types,
        cosines,
    )


def branches(model: bundle.Bundle) -> dict[str, Scorer]:
    """The fused branch, and the unimodal ones if the model has both."""
    found = {FUSED: model.branches[fused_name(model)]}
    if not cannot(model):
        found |= {name: model.branches[name] for name in MODALITIES}
    return found


def fused_name(model: bundle.Bundle) -> str:
    """The branch that counts as fused: the model's own score, without residual scores.

    Residual scores come from interactions, so items that they find would count as synergy.
    """
    return MODEL if MODEL in model.branches else FUSED


def cannot(model: bundle.Bundle) -> str:
    """One line on what the diagnosis lacks; empty if the model has a text and a visual branch."""
    missing = [name for name in MODALITIES if name not in model.branches]
    if not missing:
        return ""
    return (
        f"model {model.about.model['name']} has no {' and no '.join(missing)} branch here, so "
        "nothing can be said about confusion, synergy or degeneration between modalities"
    )
