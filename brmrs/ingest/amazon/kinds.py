"""Classify dump files as reviews or metadata by their first lines."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from brmrs.config.data import IngestConfig
from brmrs.errors import UserError
from brmrs.ingest.amazon.metadata import METADATA
from brmrs.ingest.amazon.records import LINES_TRIED, RejectedError
from brmrs.ingest.files import dump_files
from brmrs.ingest.lines import MAX_LINE, head

REVIEWS, METADATA_FIELD = "ingest.reviews", METADATA.field


def is_metadata(path: Path) -> bool:
    """Whether the first readable line of a file is metadata, rather than a review.

    Raises:
        UserError: the file cannot be read.
    """
    for line in head(path, LINES_TRIED):
        if len(line) > MAX_LINE:
            continue
        try:
            METADATA.parse(line)
        except RejectedError as error:
            if "review" in str(error):
                return False
        else:
            return True
    return False


def kind_of(path: Path) -> str | None:
    """The kind of a file, reviews or metadata, by its first readable line; None: neither.

    Raises:
        UserError: the file cannot be read, or is a table with other columns.
    """
    from brmrs.ingest.amazon import ratings, reviews  # heavy: not for `brmrs plan`

    if ratings.ratings_table(path):
        return "reviews"
    kinds = {"metadata": METADATA.parse, "reviews": reviews.parse}
    for line in head(path, LINES_TRIED):
        for kind, parse in kinds.items():
            try:
                parse(line)
            except RejectedError:
                continue
            return kind
    return None


def by_kind(files: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """The files that are no metadata, and the metadata files.

    Raises:
        UserError: a file cannot be read.
    """
    reviews: list[Path] = []
    metadata: list[Path] = []
    for path in files:
        (metadata if is_metadata(path) else reviews).append(path)
    return reviews, metadata


def configured_files(config: IngestConfig) -> dict[str, list[Path]]:
    """The files of `ingest.reviews` and `ingest.metadata`.

    A file belongs to the field that names it. The files of a folder are classified by content, so
    one folder may hold both kinds, as `brmrs download` writes them.

    Raises:
        UserError: a path does not exist or cannot be read, or there are no reviews.
    """
    if not config.reviews:
        raise UserError("ingest.reviews: no review dump is configured; set ingest.reviews=PATH")
    reviews = dump_files(_named(config.reviews), REVIEWS)
    metadata = dump_files(_named(config.metadata), METADATA_FIELD)
    for place in _folders(config.reviews):
        more, described = by_kind(dump_files([place], REVIEWS))
        reviews += more
        metadata += described
    for place in _folders(config.metadata):
        members = dump_files([place], METADATA_FIELD)
        known = {path.resolve() for path in reviews}
        metadata += [path for path in members if path.resolve() not in known]
    if not reviews:
        places = ", ".join(map(str, config.reviews))
        raise UserError(f"ingest.reviews: {places}: only metadata, no reviews; correct the path")
    return {
        "reviews": dump_files(reviews, REVIEWS),
        "metadata": dump_files(metadata, METADATA_FIELD),
    }


def _named(paths: Sequence[Path]) -> list[Path]:
    return [path for path in paths if not path.is_dir()]


def _folders(paths: Sequence[Path]) -> list[Path]:
    return [path for path in paths if path.is_dir()]
