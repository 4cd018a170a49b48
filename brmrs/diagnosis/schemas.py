"""The files of the stage `diagnosis`: their names, columns and JSON keys (docs/diagnosis.md).

They are not in `brmrs.columns`, because a change there reruns every stage.
"""

import pyarrow as pa

from brmrs.columns import (
    BRANCH,
    DIMENSION,
    HIGH,
    ITEM,
    LOW,
    N_PAIRS,
    N_USERS,
    STRATUM,
    TEXT,
    TYPE,
    USER,
    VALUE,
    VISUAL,
)

DIAGNOSIS_FILE = "diagnosis.json"
PAIRS_FILE = "pairs.parquet"
SETS_FILE = "sets.parquet"
MARGINS_FILE = "margins.parquet"
SAMPLERS_FILE = "samplers.parquet"
INFORMATION_FILE = "information.parquet"
TYPES_FILE = "types.parquet"

# The sets of held-out pairs, by which of the three branches have the item in the first K.
ONLY_TEXT, ONLY_VISUAL, BOTH = "only_text", "only_visual", "both"
SYNERGY, DEGENERATION, NONE = "synergy", "degeneration", "none"
SETS = (ONLY_TEXT, ONLY_VISUAL, BOTH, SYNERGY, DEGENERATION, NONE)

# The quadrants of (text margin, visual margin): which modality ranks the positive above.
BOTH_SEPARATE, TEXT_SEPARATES = "both_separate", "text_separates"
VISUAL_SEPARATES, NEITHER_SEPARATES = "visual_separates", "neither_separates"
QUADRANTS = (BOTH_SEPARATE, TEXT_SEPARATES, VISUAL_SEPARATES, NEITHER_SEPARATES)

# Negatives that a positive is compared with.
ABOVE, UNIFORM = "above", "uniform"
HARDEST_BY_TEXT, HARDEST_BY_VISUAL = "hardest_by_text", "hardest_by_visual"
SAMPLERS = (UNIFORM, HARDEST_BY_TEXT, HARDEST_BY_VISUAL)
NEGATIVES = (ABOVE, *SAMPLERS)

# Bits about which of the positive and a uniform negative is the positive, by what is known.
KNOWN_TEXT, KNOWN_VISUAL, KNOWN_SUM, KNOWN_ALL = "text", "visual", "text_and_visual", "all"
KNOWN = (KNOWN_TEXT, KNOWN_VISUAL, KNOWN_SUM, KNOWN_ALL)
ALONE_TEXT, ALONE_VISUAL, EITHER = "text_alone", "visual_alone", "either"
BY_SUM, BEYOND_SUM = "both_by_sum", "both_beyond_sum"
PARTS = (ALONE_TEXT, ALONE_VISUAL, EITHER, BY_SUM, BEYOND_SUM)

ALL = "all"  # dimension and stratum of all pairs

SET = "set"
ABOVE_COUNT, COMPARED = "above", "compared"
CONFUSED_BY_SCORE, CONFUSED_BY_COSINE = "confused_by_score", "confused_by_cosine"
NEGATIVE, CONFUSES = "negative", "confuses"
NEGATIVE_KIND = "negatives"
TEXT_LOW, TEXT_HIGH, VISUAL_LOW, VISUAL_HIGH = (
    "text_low",
    "text_high",
    "visual_low",
    "visual_high",
)
COUNT = "count"
SAMPLER, MEASURE, QUANTITY = "sampler", "measure", "quantity"
BRANCHES = (TEXT, VISUAL, "fused")


def _required(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


PAIRS = pa.schema(  # one row per held-out pair of the test split, sorted by user and item
    [
        _required(USER, pa.int32()),
        _required(ITEM, pa.int32()),
        _required(SET, pa.string()),
        pa.field(TYPE, pa.string()),  # of the sample's truth; null where it is not known
        *(_required(f"{branch}_score", pa.float32()) for branch in BRANCHES),
        *(_required(f"{branch}_rank", pa.int32()) for branch in BRANCHES),  # counted from 1
        _required(ABOVE_COUNT, pa.int32()),
        _required(CONFUSED_BY_SCORE, pa.int32()),
        _required(COMPARED, pa.int32()),
        _required(CONFUSED_BY_COSINE, pa.int32()),
        pa.field(NEGATIVE, pa.int32()),  # null, like the rest, if no negative is confused by score
        pa.field(CONFUSES, pa.string()),
        *(pa.field(f"{NEGATIVE}_{branch}_score", pa.float32()) for branch in BRANCHES),
        *(pa.field(f"{NEGATIVE}_{m}_cosine", pa.float32()) for m in (TEXT, VISUAL)),
    ]
)
SET_SHARES = pa.schema(
    [
        _required(DIMENSION, pa.string()),
        _required(STRATUM, pa.string()),
        _required(SET, pa.string()),
        _required(N_USERS, pa.int64()),
        _required(N_PAIRS, pa.int64()),
        _required(VALUE, pa.float64()),
        _required(LOW, pa.float64()),
        _required(HIGH, pa.float64()),
    ]
)
MARGINS = pa.schema(
    [
        _required(NEGATIVE_KIND, pa.string()),
        *(_required(name, pa.float64()) for name in (TEXT_LOW, TEXT_HIGH, VISUAL_LOW, VISUAL_HIGH)),
        _required(COUNT, pa.int64()),
    ]
)
SAMPLER_MARGINS = pa.schema(
    [
        _required(SAMPLER, pa.string()),
        _required(BRANCH, pa.string()),
        _required(MEASURE, pa.string()),  # "margin" or "not_separated"
        _required(VALUE, pa.float64()),
        _required(LOW, pa.float64()),
        _required(HIGH, pa.float64()),
    ]
)
INFORMATION = pa.schema(
    [
        _required(DIMENSION, pa.string()),
        _required(STRATUM, pa.string()),
        _required(QUANTITY, pa.string()),  # of KNOWN or PARTS
        _required(N_USERS, pa.int64()),
        _required(N_PAIRS, pa.int64()),
        _required(VALUE, pa.float64()),
        _required(LOW, pa.float64()),
        _required(HIGH, pa.float64()),
    ]
)
