"""All column names and Parquet schemas.

Letters used in all docstrings: U users, I items, N interactions, B batch, d dimension,
m modality (text or visual), L layers, K cut-off.
"""

from collections.abc import Iterable, Sequence

import pyarrow as pa

# Dense ids: 0..U-1 and 0..I-1, in the order of the sorted raw ids.
USER = "user"
ITEM = "item"
# Raw ids, as the dump writes them.
USER_ID = "user_id"
ASIN = "asin"

RATING = "rating"
TIMESTAMP = "timestamp"  # milliseconds since 1970-01-01 UTC; null where the dump has none
SPLIT = "split"
TRAIN, VALIDATION, TEST = 0, 1, 2  # values of SPLIT, the literature's x_label
SPLIT_NAMES = {TRAIN: "train", VALIDATION: "validation", TEST: "test"}

TITLE = "title"
DESCRIPTION = "description"
CATEGORIES = "categories"
BRAND = "brand"
IMAGE_URLS = "image_urls"

FILE = "file"
LINE = "line"  # counted from 1
REASON = "reason"
CONTENT = "content"  # the first characters of the bad line

VECTOR = "vector"
REGIONS = "regions"
PRESENT = "present"

STATUS = "status"
SHA256 = "sha256"
SOURCE = "source"
WIDTH = "width"
HEIGHT = "height"

ROW = "row"
COLUMN = "column"
WEIGHT = "weight"

EPOCH = "epoch"
BRANCH = "branch"
RANK = "rank"  # counted from 1
SCORE = "score"

KIND = "kind"  # of a point of the training curve
LOSS = (
    "loss"  # a loss term, mean over the epoch's batches; the other kind is SPLIT_NAMES[VALIDATION]
)
SPREAD = "spread"  # of self-supervised outputs: 0 collapsed, 1 even in all directions
NAME = "name"
VALUE = "value"

DIMENSION = "dimension"  # what strata are formed by, such as "item popularity"
STRATUM = "stratum"
N_USERS, N_PAIRS = "users", "pairs"
LOW, HIGH = "low", "high"  # ends of a 95 % interval

METRICS = ("recall", "ndcg", "precision", "map", "mrr", "hit_rate")

# The sample dump's truth: parts of an item's latent vector and of a user's taste.
TEXT_UNIQUE, VISUAL_UNIQUE = "text_unique", "visual_unique"
ADDITIVE, SYNERGY, REDUNDANT = "additive", "synergy", "redundant"
PARTS = (TEXT_UNIQUE, VISUAL_UNIQUE, ADDITIVE, SYNERGY, REDUNDANT)
NO_PART = "none"  # the type of an interaction to which popularity and noise contribute most
TEXT_SIGNS, VISUAL_SIGNS = "text_signs", "visual_signs"  # the factors of the synergy part
# The literature's ready-made layout, which has RATING and TIMESTAMP under these names, too.
LAYOUT_USER = "userID"
LAYOUT_ITEM = "itemID"
LAYOUT_SPLIT = "x_label"
NEIGHBOUR = "neighbour"
COSINE = "cosine"

TYPE = "type"  # of an interaction: the part of PARTS that contributes most to it, or NO_PART

TEXT, VISUAL, FUSED = "text", "visual", "fused"  # modalities, and the branches of a model
BASELINE = "most-popular"  # evaluated beside the branches of each model
MODALITIES = (TEXT, VISUAL)
# Branches of a model with residual scores: its own fused score, and the scores added to it.
MODEL = "model"
RESIDUALS = ("ease", "neighbours", "graph-filter", "ssc")

INTERACTIONS = pa.schema(
    [
        pa.field(USER, pa.int32(), nullable=False),
        pa.field(ITEM, pa.int32(), nullable=False),
        pa.field(RATING, pa.float32()),
        pa.field(TIMESTAMP, pa.int64()),
    ]
)
GIVEN_SPLIT = pa.schema(  # row by row beside the interactions
    [
        pa.field(USER, pa.int32(), nullable=False),
        pa.field(ITEM, pa.int32(), nullable=False),
        pa.field(SPLIT, pa.int8(), nullable=False),
    ]
)
SPLIT_INTERACTIONS = INTERACTIONS.append(pa.field(SPLIT, pa.int8(), nullable=False))
USERS = pa.schema(
    [pa.field(USER, pa.int32(), nullable=False), pa.field(USER_ID, pa.string(), nullable=False)]
)
ITEMS = pa.schema(
    [
        pa.field(ITEM, pa.int32(), nullable=False),
        pa.field(ASIN, pa.string(), nullable=False),
        pa.field(TITLE, pa.string(), nullable=False),  # "" where unknown, like the next two
        pa.field(DESCRIPTION, pa.string(), nullable=False),
        pa.field(BRAND, pa.string(), nullable=False),
        pa.field(CATEGORIES, pa.list_(pa.string()), nullable=False),
        pa.field(IMAGE_URLS, pa.list_(pa.string()), nullable=False),  # in the order to try them
    ]
)
QUARANTINE = pa.schema(
    [
        pa.field(FILE, pa.string(), nullable=False),
        pa.field(LINE, pa.int64(), nullable=False),
        pa.field(REASON, pa.string(), nullable=False),
        pa.field(CONTENT, pa.string(), nullable=False),
    ]
)
IMAGES = pa.schema(
    [
        pa.field(ITEM, pa.int32(), nullable=False),
        pa.field(STATUS, pa.string(), nullable=False),
        pa.field(SHA256, pa.string()),  # names the file under files/, null unless the status is ok
        pa.field(SOURCE, pa.string()),  # the address or the file name it came from
        pa.field(WIDTH, pa.int32()),
        pa.field(HEIGHT, pa.int32()),
    ]
)
EDGES = pa.schema(
    [
        pa.field(ROW, pa.int32(), nullable=False),
        pa.field(COLUMN, pa.int32(), nullable=False),
        pa.field(WEIGHT, pa.float32(), nullable=False),
    ]
)
RECOMMENDATIONS = pa.schema(
    [
        pa.field(USER, pa.int32(), nullable=False),
        pa.field(USER_ID, pa.string(), nullable=False),
        pa.field(RANK, pa.int32(), nullable=False),
        pa.field(ITEM, pa.int32(), nullable=False),
        pa.field(ASIN, pa.string(), nullable=False),
        pa.field(SCORE, pa.float32(), nullable=False),
    ]
)
CURVE = pa.schema(
    [
        pa.field(EPOCH, pa.int32(), nullable=False),  # counted from 1
        pa.field(KIND, pa.string(), nullable=False),
        pa.field(NAME, pa.string(), nullable=False),  # of the loss term or the metric
        pa.field(VALUE, pa.float64(), nullable=False),
    ]
)
STRATA = pa.schema(
    [
        pa.field(SPLIT, pa.int8(), nullable=False),
        pa.field(BRANCH, pa.string(), nullable=False),
        pa.field(DIMENSION, pa.string(), nullable=False),
        pa.field(STRATUM, pa.string(), nullable=False),
        pa.field(N_USERS, pa.int64(), nullable=False),
        pa.field(N_PAIRS, pa.int64(), nullable=False),
        pa.field(NAME, pa.string(), nullable=False),  # of the metric
        pa.field(VALUE, pa.float64(), nullable=False),
        pa.field(LOW, pa.float64(), nullable=False),
        pa.field(HIGH, pa.float64(), nullable=False),
    ]
)


def metric(name: str, k: int) -> str:
    """The name of a metric at a cut-off: "recall@20"."""
    return f"{name}@{k}"


def by_metric(name: str) -> tuple[int, str, int]:
    """Sort key of metric names at cut-offs: as in METRICS, then those of plug-ins by name."""
    kind, _, k = name.partition("@")
    return METRICS.index(kind) if kind in METRICS else len(METRICS), kind, int(k)


def metric_kinds(names: Iterable[str]) -> list[str]:
    """The metrics among names at cut-offs, in order: "recall" of "recall@20"."""
    kinds = (name.partition("@")[0] for name in sorted(names, key=by_metric))
    return list(dict.fromkeys(kinds))


def per_user(cut_offs: tuple[int, ...], others: Iterable[str] = ()) -> pa.Schema:
    """Schema of the per-user metrics: one row per user, split and branch, a column per metric.

    Args:
        cut_offs: K.
        others: metrics of plug-ins.
    """
    return pa.schema(
        [
            pa.field(USER, pa.int32(), nullable=False),
            pa.field(SPLIT, pa.int8(), nullable=False),
            pa.field(BRANCH, pa.string(), nullable=False),
            *(
                pa.field(metric(name, k), pa.float64(), nullable=False)
                for name in (*METRICS, *others)
                for k in cut_offs
            ),
        ]
    )


_LATENT = [pa.field(part, pa.list_(pa.float32()), nullable=False) for part in PARTS]
TRUTH_USERS = pa.schema([pa.field(USER_ID, pa.string(), nullable=False), *_LATENT])
TRUTH_ITEMS = pa.schema(
    [
        pa.field(ASIN, pa.string(), nullable=False),
        *_LATENT,
        pa.field(TEXT_SIGNS, pa.list_(pa.float32()), nullable=False),
        pa.field(VISUAL_SIGNS, pa.list_(pa.float32()), nullable=False),
    ]
)
TRUTH_INTERACTIONS = pa.schema(
    [
        pa.field(USER_ID, pa.string(), nullable=False),
        pa.field(ASIN, pa.string(), nullable=False),
        pa.field(TYPE, pa.string(), nullable=False),
    ]
)


def features(dimension: int) -> pa.Schema:
    """Schema of a feature table: one row per item, `dimension` floats, zeros where not present."""
    return pa.schema(
        [
            pa.field(ITEM, pa.int32(), nullable=False),
            pa.field(VECTOR, pa.list_(pa.float32(), dimension), nullable=False),
            pa.field(PRESENT, pa.bool_(), nullable=False),
        ]
    )


def embeddings(dimension: int, regions: int = 0) -> pa.Schema:
    """Schema of a shard of cached embeddings: the digest of a content, and its vector and map.

    Args:
        dimension: of its vector.
        regions: numbers in its feature map; 0 where none is kept.
    """
    schema = pa.schema(
        [
            pa.field(SHA256, pa.string(), nullable=False),
            pa.field(VECTOR, pa.list_(pa.float32(), dimension), nullable=False),
        ]
    )
    if not regions:
        return schema
    return schema.append(pa.field(REGIONS, pa.list_(pa.float16(), regions), nullable=False))


def item_name(asin: str, title: str, brand: str, categories: Sequence[str | None]) -> str:
    """The name of an item in tables and reports: its title, else brand and category with its id.

    Args:
        asin: its id.
        title: "" if it has none.
        brand: "" if it has none.
        categories: from the broadest to the most specific.
    """
    if title:
        return title
    specific = next((name for name in reversed(categories) if name), "")
    described = ", ".join(part for part in (brand, specific) if part)
    return f"{described} ({asin})" if described else asin
