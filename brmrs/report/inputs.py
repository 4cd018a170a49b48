"""The artifacts that the report is made from. They are untrusted (see `brmrs.system.untrusted`)."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from brmrs import columns
from brmrs.columns import FUSED, ITEM, MODALITIES, SPLIT_NAMES, TEST, USER
from brmrs.config.pipeline import PipelineConfig
from brmrs.diagnosis import result, schemas
from brmrs.errors import UserError
from brmrs.images.stage import SHARED
from brmrs.images.stage import STATISTICS as STATUSES
from brmrs.report import checked
from brmrs.stages import GRAPHS, ITEMS, SPLIT, STATISTICS, USERS
from brmrs.store.graphs import Graph, read_graphs
from brmrs.store.tables import read_table


@dataclass(frozen=True)
class Inputs:
    """Everything that the sections read.

    Attributes:
        paths: of the declared inputs, by declared name (see `StageContext.inputs`).
        config: the declared sections of the configuration.
    """

    paths: Mapping[str, Path]
    config: PipelineConfig

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """`metrics.json` of the stage evaluate."""
        return {**checked.read_metrics(self.paths["evaluate"] / "metrics.json")}

    @cached_property
    def bundle(self) -> dict[str, Any]:
        """The description of the trained model."""
        found = checked.read(self.paths["train"] / "bundle.json", checked.MODEL)
        return {**found}

    @cached_property
    def statistics(self) -> dict[str, Any]:
        """`statistics.json` of the stage ingest."""
        found = checked.read(self.paths[STATISTICS], checked.STATISTICS)
        return {**found}

    @cached_property
    def split(self) -> pl.DataFrame:
        """Of `columns.SPLIT_INTERACTIONS`."""
        return self._table(SPLIT, columns.SPLIT_INTERACTIONS)

    @cached_property
    def items(self) -> pl.DataFrame:
        """Of `columns.ITEMS`."""
        return self._table(ITEMS, columns.ITEMS)

    @cached_property
    def users(self) -> pl.DataFrame:
        """Of `columns.USERS`."""
        return self._table(USERS, columns.USERS)

    @cached_property
    def recommendations(self) -> pl.DataFrame:
        """Of `columns.RECOMMENDATIONS`."""
        return self._table("publish/recommendations.parquet", columns.RECOMMENDATIONS)

    @cached_property
    def strata(self) -> pl.DataFrame:
        """Of `columns.STRATA`."""
        return self._table("evaluate/strata.parquet", columns.STRATA)

    @cached_property
    def per_user(self) -> pl.DataFrame:
        """Of `columns.per_user`."""
        kinds = columns.metric_kinds(self.metrics["test"])
        others = [kind for kind in kinds if kind not in columns.METRICS]
        schema = columns.per_user(tuple(self.cut_offs), others)
        return self._table("evaluate/per_user.parquet", schema)

    @cached_property
    def diagnosis(self) -> dict[str, Any]:
        """`diagnosis.json` of the stage diagnosis."""
        return {**result.read(self.paths["diagnosis"])}

    @cached_property
    def pairs(self) -> pl.DataFrame:
        """Of `schemas.PAIRS`; only where nothing is in `diagnosis["cannot"]`, as the next two."""
        return self._table(f"diagnosis/{schemas.PAIRS_FILE}", schemas.PAIRS)

    @cached_property
    def sets(self) -> pl.DataFrame:
        """Of `schemas.SET_SHARES`."""
        return self._table(f"diagnosis/{schemas.SETS_FILE}", schemas.SET_SHARES)

    @cached_property
    def margins(self) -> pl.DataFrame:
        """Of `schemas.MARGINS`."""
        return self._table(f"diagnosis/{schemas.MARGINS_FILE}", schemas.MARGINS)

    @cached_property
    def types(self) -> pl.DataFrame:
        """Of `columns.STRATA`: Recall by planted type; empty where the truth is not known."""
        return self._table(f"diagnosis/{schemas.TYPES_FILE}", columns.STRATA)

    @cached_property
    def curve(self) -> pl.DataFrame:
        """Of `columns.CURVE`."""
        return self._table("train/curve.parquet", columns.CURVE)

    @cached_property
    def features(self) -> list[dict[str, Any]]:
        """Label, weights and size of each modality that the run has vectors of."""
        files = [f"{modality}_features/meta.json" for modality in MODALITIES]
        paths = [self.paths[file] for file in files if file in self.paths]
        found = [checked.read(path, checked.VECTORS) for path in paths]
        return [{**each} for each in found]

    @cached_property
    def statuses(self) -> dict[str, int]:
        """Number of items by status of their picture; empty if the run left pictures out."""
        if "images" not in self.paths:
            return {}
        return checked.read(self.paths["images"] / STATUSES, checked.STATUSES)

    @cached_property
    def shared_pictures(self) -> dict[str, Any]:
        """Pictures that several items have; empty if the run left pictures out."""
        if "images" not in self.paths:
            return {}
        found = checked.read(self.paths["images"] / SHARED, checked.SHARED)
        return {**found}

    @cached_property
    def graphs(self) -> dict[str, Graph]:
        """The statistics of each graph; empty if the run left graphs out."""
        return read_graphs(self.paths[GRAPHS]) if GRAPHS in self.paths else {}

    @cached_property
    def cut_offs(self) -> list[int]:
        """The cut-offs K of the metrics, ascending."""
        return sorted({int(name.partition("@")[2]) for name in self.metrics[SPLIT_NAMES[TEST]]})

    @property
    def k(self) -> int:
        """The largest cut-off."""
        return self.cut_offs[-1]

    @property
    def headline(self) -> str:
        """Recall at the largest cut-off."""
        return columns.metric("recall", self.k)

    @cached_property
    def models(self) -> dict[str, dict[str, dict[str, float]]]:
        """Metrics by split of every branch, the fused one first, and of the baseline."""
        branches = self.metrics["branches"]
        order = sorted(branches, key=lambda name: name != FUSED)
        return {**{name: branches[name] for name in order}, **self.metrics["baseline"]}

    def called(self, series: str) -> str:
        """The name of a branch or of the baseline on the page."""
        if series == FUSED:
            return str(self.metrics["model"])
        return series if series in self.metrics["baseline"] else f"{series} branch"

    @cached_property
    def _sizes(self) -> dict[str, int]:
        """By column of ids, the number of users or of items."""
        items = len(self.items)
        return {USER: len(self.users), ITEM: items, schemas.NEGATIVE: items}

    def _table(self, read: str, schema: pa.Schema) -> pl.DataFrame:
        """A declared input, or a file of a declared artifact.

        Raises:
            UserError: it is missing or damaged, or holds an unknown user or item, or a number that
                is not finite.
        """
        folder, _, file = read.partition("/")
        path = self.paths.get(read) or self.paths[folder] / file
        found = pl.from_arrow(read_table(path, schema))
        assert isinstance(found, pl.DataFrame)
        if read in (USERS, ITEMS):  # their ids are 0, 1, ...
            return found
        for name in found.columns:
            values = found[name].drop_nulls()
            if values.dtype.is_float() and not values.is_finite().all():
                raise _damaged(path, f"column {name} holds a number that is not finite")
            if name in self._sizes and not values.is_between(0, self._sizes[name] - 1).all():
                raise _damaged(path, f"column {name} holds an unknown id")
        return found


def _damaged(path: Path, reason: str) -> UserError:
    return UserError(f"{path}: no table of a run ({reason}); run the pipeline again")
