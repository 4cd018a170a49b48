"""The stage `report`: one HTML page with the data, the model, its metrics and example users.

The page is self-contained: styles, figures and thumbnails are embedded; it has no scripts and no
links.
"""

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import polars as pl

from brmrs import columns
from brmrs.columns import MODALITIES, SPLIT_NAMES, TEST, TRAIN, VALIDATION
from brmrs.config import conditions
from brmrs.config.pipeline import PipelineConfig
from brmrs.images.decode import to_rgb
from brmrs.images.picture_store import TABLE, stored_files
from brmrs.images.stage import SHARED
from brmrs.images.stage import STATISTICS as STATUSES
from brmrs.report import figures
from brmrs.report.portrait import portrait
from brmrs.stages import ITEMS, SPLIT, STATISTICS, USERS, StageContext
from brmrs.system.files import read_json

THUMBNAIL = 96  # pixels
BASELINE = "most-popular"
HISTORY_SHOWN = 6
RECOMMENDATIONS_SHOWN = 6


@dataclass(frozen=True)
class Card:
    """An item on the page.

    Attributes:
        title: or the item id without a title.
        picture: a data URL, or "" without a picture.
        hit: whether it is one of the user's test items.
        score: of the recommendation; None in a history.
    """

    title: str
    picture: str
    hit: bool = False
    score: float | None = None


@dataclass(frozen=True)
class UserStory:
    """One user: training items, test items and recommendations."""

    user_id: str
    history: list[Card]
    held_out: list[Card]
    recommended: list[Card]


def run(context: StageContext) -> None:
    """Render the page from the outputs of the other stages."""
    page = render(context)
    (context.out / "report.html").write_text(page, encoding="utf-8")


def render(context: StageContext) -> str:
    """The HTML page."""
    inputs = context.inputs
    metrics = read_json(inputs["evaluate"] / "metrics.json")
    bundle = read_json(inputs["train"] / "bundle.json")
    interactions = pl.read_parquet(inputs[SPLIT], glob=False)
    values = {
        "name": context.config.name,
        "note": context.config.note,
        "model": bundle["model"],
        "train": bundle["train"],
        "best_epoch": bundle["best_epoch"],
        "selection": bundle["train"]["selection"],
        "data": read_json(inputs[STATISTICS]),
        "split": _split_sizes(interactions),
        "conditions": _conditions(context.config, interactions, metrics, bundle),
        "learned_from": conditions.learned_from(bundle["features"]),
        "features": _features(inputs, metrics["coverage"]),
        "images": _if_there(inputs, "images", STATUSES),
        "shared": _if_there(inputs, "images", SHARED),
        "portrait": portrait(interactions, read_json(inputs[STATISTICS])),
        "metrics": metrics,
        "tables": _metric_tables(metrics),
        "shown": _shown(metrics),
        "headline": _headline(metrics),
        "largest": _cut_offs(metrics)[-1],
        "strata": strata(inputs["evaluate"] / "strata.parquet"),
        "strata_branches": [
            *[name for name in MODALITIES if name in metrics["branches"]],
            BASELINE,
        ],
        "curve": training_curve(inputs["train"]),
        "bars": _bars(metrics),
        "stories": _stories(inputs, context.config.report.users),
    }
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("stage.html.j2").render(values)


def _split_sizes(interactions: pl.DataFrame) -> dict[str, int]:
    counts = dict(interactions[columns.SPLIT].value_counts().rows())
    return {name: counts.get(value, 0) for value, name in SPLIT_NAMES.items()}


def _conditions(
    config: PipelineConfig,
    interactions: pl.DataFrame,
    metrics: dict[str, Any],
    bundle: dict[str, Any],
) -> dict[str, str]:
    """The conditions under which the numbers were measured, as text."""
    dated = interactions[columns.TIMESTAMP].null_count() < len(interactions)
    return {
        "positives": conditions.positives(config.ingest),
        "split": conditions.split(config.split, dated=dated),
        "ranking": metrics["definitions"]["protocol"],
        "features": conditions.coverage(bundle["features"]),
    }


def _features(inputs: Any, coverage: dict[str, Any]) -> list[dict[str, Any]]:
    """Label, weights, size and coverage of each modality that the model may read."""
    files = [f"{modality}_features/meta.json" for modality in MODALITIES]
    metas = [read_json(inputs[file]) for file in files if file in inputs]
    return [{**meta, "coverage": coverage[meta["modality"]]} for meta in metas]


def _if_there(inputs: Any, folder: str, file: str) -> dict[str, Any]:
    """A JSON file of an optional input; empty if the run left it out."""
    values: dict[str, Any] = read_json(inputs[folder] / file) if folder in inputs else {}
    return values


def _metric_tables(metrics: dict[str, Any]) -> dict[str, dict[str, dict[str, float]]]:
    """For each split: a row per branch, and one for the baseline."""
    splits = [SPLIT_NAMES[part] for part in (TEST, VALIDATION)]
    order = sorted(metrics["branches"], key=lambda name: name != columns.FUSED)
    rows = {f"{metrics['model']}, {name} branch": metrics["branches"][name] for name in order}
    rows |= metrics["baseline"]
    return {split: {row: values[split] for row, values in rows.items()} for split in splits}


def strata(table: Path) -> dict[str, list[dict[str, Any]]]:
    """The strata of the test split by dimension: sizes, and per branch value and interval.

    Args:
        table: `strata.parquet` of the stage `evaluate`.
    """
    rows = pl.read_parquet(table, glob=False).filter(pl.col(columns.SPLIT) == TEST)
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows.iter_rows(named=True):
        of_dimension = found.setdefault(row[columns.DIMENSION], {})
        sizes = {name: row[name] for name in (columns.STRATUM, columns.N_USERS, columns.N_PAIRS)}
        stratum = of_dimension.setdefault(row[columns.STRATUM], sizes)
        values = (columns.VALUE, columns.LOW, columns.HIGH)
        stratum[row[columns.BRANCH]] = {name: row[name] for name in values}
    return {dimension: list(each.values()) for dimension, each in found.items()}


def training_curve(train: Path) -> str:
    """The training curve as SVG; empty without training.

    Args:
        train: the artifact of the stage `train`.
    """
    table, bundle = (
        pl.read_parquet(train / "curve.parquet", glob=False),
        read_json(train / "bundle.json"),
    )
    selection = bundle["train"]["selection"]
    if table.is_empty() or not bundle["best_epoch"]:
        return ""
    losses, validation = [], figures.Curve(selection, [], [])
    for (kind, name), points in table.group_by([columns.KIND, columns.NAME], maintain_order=True):
        curve = figures.Curve(
            str(name), points[columns.EPOCH].to_list(), points[columns.VALUE].to_list()
        )
        if kind == columns.LOSS:
            losses.append(curve)
        elif name == selection:
            validation = curve
    return figures.training_curve(losses, validation, bundle["best_epoch"])


def _bars(metrics: dict[str, Any]) -> str:
    """Test recall of the model, its branches and the baseline."""
    rows = _metric_tables(metrics)[SPLIT_NAMES[TEST]]
    name = _headline(metrics)
    return figures.bars(list(rows), [row[name] for row in rows.values()], f"test {name}")


def _headline(metrics: dict[str, Any]) -> str:
    """Recall at the largest cut-off."""
    return columns.metric("recall", _cut_offs(metrics)[-1])


def _shown(metrics: dict[str, Any]) -> list[str]:
    """Recall and NDCG at every cut-off, the other metrics at the largest."""
    cut_offs = _cut_offs(metrics)
    kinds = columns.metric_kinds(metrics["test"])
    first = [columns.metric(name, k) for name in kinds[:2] for k in cut_offs]
    return first + [columns.metric(name, cut_offs[-1]) for name in kinds[2:]]


def _cut_offs(metrics: dict[str, Any]) -> list[int]:
    return sorted({int(name.partition("@")[2]) for name in metrics[SPLIT_NAMES[TEST]]})


def _stories(inputs: Any, count: int) -> list[UserStory]:
    """The first users that have test items, with their history and recommendations."""
    split = pl.read_parquet(inputs[SPLIT], glob=False)
    users = split.filter(pl.col(columns.SPLIT) == TEST)[columns.USER].unique().sort()[:count]
    chosen = split.filter(pl.col(columns.USER).is_in(users.implode()))
    ranked = pl.read_parquet(inputs["publish"] / "recommendations.parquet", glob=False).filter(
        pl.col(columns.USER).is_in(users.implode())
        & (pl.col(columns.RANK) <= RECOMMENDATIONS_SHOWN)
    )
    gallery = _Gallery(inputs)
    names = pl.read_parquet(inputs[USERS], glob=False)[columns.USER_ID]
    stories = []
    for user in users:
        own = chosen.filter(pl.col(columns.USER) == user)
        parts = {
            part: own.filter(pl.col(columns.SPLIT) == part)[columns.ITEM].to_list()
            for part in (TRAIN, TEST)
        }
        rows = ranked.filter(pl.col(columns.USER) == user).sort(columns.RANK)
        recommended = [
            gallery.card(row[columns.ITEM], row[columns.ITEM] in parts[TEST], row[columns.SCORE])
            for row in rows.iter_rows(named=True)
        ]
        history = [gallery.card(item) for item in parts[TRAIN][:HISTORY_SHOWN]]
        held_out = [gallery.card(item) for item in parts[TEST]]
        stories.append(UserStory(names[user], history, held_out, recommended))
    return stories


class _Gallery:
    """Names and thumbnails of items."""

    def __init__(self, inputs: Any):
        named = [columns.ASIN, columns.TITLE, columns.BRAND, columns.CATEGORIES]
        items = pl.read_parquet(inputs[ITEMS], columns=named, glob=False).select(named)
        self._names = [columns.item_name(*row) for row in items.rows()]
        self._files: dict[str, Path] = {}
        self._digests: list[str | None] = [None] * len(items)
        if folder := inputs.get("images"):
            self._files = stored_files(folder)
            self._digests = pl.read_parquet(folder / TABLE, glob=False)[columns.SHA256].to_list()

    def card(self, item: int, hit: bool = False, score: float | None = None) -> Card:
        """The item's card."""
        return Card(self._names[item], self._thumbnail(item), hit, score)

    def _thumbnail(self, item: int) -> str:
        digest = self._digests[item]
        if digest is None:
            return ""
        upright = to_rgb(self._files[digest].read_bytes())
        upright.thumbnail((THUMBNAIL, THUMBNAIL))
        buffer = io.BytesIO()
        upright.save(buffer, "JPEG", quality=82)
        return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
