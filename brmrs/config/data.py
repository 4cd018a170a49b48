"""Sections about the data: the dump, the split, the pictures."""

from typing import Annotated, Literal, Self

from pydantic import ByteSize, Field, model_validator

from brmrs.config.section import (
    KEYLESS,
    Effort,
    Location,
    Locations,
    Section,
    Seed,
    Share,
)
from brmrs.config.tables import ColumnsConfig
from brmrs.config.without_effect import refuse

OF_DUMPS = ("reviews", "metadata")
OF_TABLES = ("interactions", "items", "users", "text_vectors", "visual_vectors", "columns")


class IngestConfig(Section):
    """The data set: raw review dumps, tables of your own, or a ready-made data set."""

    format: str = "amazon"
    """`amazon`: raw dumps; their generation (2014, 2018, 2023) is found by content. `table`: tables
    of your own (CSV, TSV, JSON lines, Parquet, RecBole's atomic files). `ready-made`: the
    literature's layout, already filtered and split, read from the folder `path`. Or the name of a
    format that a plug-in registers."""
    path: Location = None
    """Folder of a ready-made data set."""
    reviews: Locations = ()
    """Review files of a raw dump, or folders of them; one path or a list."""
    metadata: Locations = ()
    """Metadata files of a raw dump, or folders of them; without any, items have no texts and no
    picture addresses."""
    interactions: Locations = ()
    """Tables of interactions (purchases, ratings, clicks), or folders of them; one path or a list.
    Files named `*.train.*`, `*.valid.*` and `*.test.*` keep that split, and no k-core is taken."""
    items: Locations = ()
    """Tables of items; without any, items have no texts and no pictures by name or address."""
    users: Locations = ()
    """Tables of users. Their ids are compared with those of the interactions; no model reads more
    of them."""
    text_vectors: Locations = ()
    """Text vectors of items, for `features.text.model: imported`: a Parquet file with a column of
    ids and a column of lists, or a `.npy` file and a file of ids, one a line."""
    visual_vectors: Locations = ()
    """The same for `features.visual.backbone: imported`."""
    columns: ColumnsConfig = ColumnsConfig()
    """Columns of the tables."""
    k: int = Field(5, ge=0)
    """k-core: users and items with fewer than k interactions are removed until none is left; 0
    keeps all."""
    min_rating: float | None = None
    """Stars that a review needs to count as a positive interaction; null: every review counts."""
    max_bad_share: Share = 0.01
    """Share of unreadable lines above which ingestion stops, in [0, 1]."""
    allow_truncated: bool = False
    """Read a truncated compressed file up to its end, instead of stopping."""
    memory: Annotated[ByteSize | None, Field(gt=0), KEYLESS] = None
    """Memory that reading raw dumps may take, such as `8GB`; data that need more are read out of
    core, by way of the disk, with the same result. null: 60 % of the free memory."""

    @model_validator(mode="after")
    def _every_field_has_an_effect(self) -> Self:
        if self.format == "benchmark":
            raise ValueError("format: benchmark was renamed to ready-made")
        if self.format == "ready-made":
            refuse(
                self,
                (
                    *(*OF_DUMPS, *OF_TABLES, "k", "min_rating", "max_bad_share"),
                    *("allow_truncated", "memory"),
                ),
                "a ready-made data set is taken as it is; leave it out, or set format=amazon",
            )
        elif self.format == "amazon":
            refuse(self, ("path",), "raw dumps are named by reviews and metadata; set those")
            refuse(self, OF_TABLES, "they are of tables; set format=table")
        elif self.format == "table":
            reason = "tables are named by interactions, items and users; set those"
            refuse(self, ("path", *OF_DUMPS), reason)
            refuse(self, ("memory",), "tables are read into memory; leave it out")
        return self


class SplitConfig(Section):
    """The split into training, validation and test."""

    protocol: Literal["random", "leave-last-out", "time", "cold-items", "given"] = "random"
    """`random`: a share of each user's interactions is held out. `leave-last-out`: each user's last
    interaction tests, the one before it validates. `time`: one cut in time for all users.
    `cold-items`: a share of the items is held out entirely, to measure new items. `given`: the
    split of a ready-made data set."""
    held_out: float = Field(0.2, gt=0, lt=1)
    """Share held out, half of it for validation and half for test: of each user's interactions
    (`random`), of all interactions (`time`), or of the items (`cold-items`)."""
    seed: Seed = 0
    """Seed of the random draws (`random`, `cold-items`)."""

    @model_validator(mode="after")
    def _every_field_has_an_effect(self) -> Self:
        if self.protocol in ("leave-last-out", "given"):
            refuse(self, ("held_out",), f"protocol={self.protocol} holds out no share")
        if self.protocol not in ("random", "cold-items"):
            refuse(self, ("seed",), f"protocol={self.protocol} draws nothing at random")
        return self


class ImagesConfig(Section):
    """The sources of pictures. A file in the folder is preferred to a download."""

    folder: Location = None
    """Folder of pictures named ID.jpg or ID_0.jpg, also in sub-folders, or as the items' data name
    them."""
    fetch: bool = True
    """Download pictures that the folder lacks from the items' addresses."""
    full_size: bool = False
    """Try the full size (NAME.jpg) before a thumbnail's address (NAME._SS40_.jpg)."""
    allow_private: bool = False
    """Allow downloads from private, loopback and link-local addresses."""
    concurrency: Effort = 16
    """Requests at once, to all hosts together."""
    per_host: Effort = 4
    """Requests at once to one host."""
    rate: Annotated[float, Field(gt=0), KEYLESS] = 50.0
    """Requests per second, to all hosts together; redirects and retries count."""
    timeout: float = Field(20.0, gt=0)
    """Seconds for one attempt at a picture, its redirects included."""
    retries: int = Field(2, ge=0)
    """Further attempts after a failure that may be temporary."""
    max_wait: Annotated[float, Field(ge=0), KEYLESS] = 600.0
    """Total seconds that a run waits for hosts that limit requests (Retry-After); then it skips
    them."""
    max_bytes: int = Field(20_000_000, gt=0)
    """Largest picture file, in bytes; larger ones are not used."""
    max_pixels: int = Field(50_000_000, gt=0)
    """Largest picture, in pixels (width x height); larger ones are not decoded."""
