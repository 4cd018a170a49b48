"""Facts about files: the data of `brmrs inspect`.

Nothing is left out: no k-core, no minimum rating, no limit to the share of bad lines. A file that
is cut off is read up to its last whole line. If a configuration `brmrs.yaml` is beside the files,
its columns are read, and the notes follow it.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from brmrs.columns import SPLIT_NAMES
from brmrs.errors import UserError
from brmrs.ingest import formats
from brmrs.ingest.amazon.metadata import METADATA, describe
from brmrs.ingest.amazon.records import read
from brmrs.ingest.dataset import Reading
from brmrs.ingest.stage import ingest
from brmrs.ingest.tables import ITEMS_WITH, fields_of
from brmrs.propose.known import Known, known
from brmrs.propose.look import named_picture, pictures_of, with_picture, without_files

LOW_RATING = 2.0  # stars
CONFIGURATION = {".yaml", ".yml"}


def inspect(paths: Sequence[Path], plugins: Sequence[Path] = ()) -> dict[str, Any]:
    """Facts about files or folders of any dump format, also of a plug-in.

    Returns:
        The statistics of the stage ingest with k = 0 (JSON values). Added are `notes`, sentences on
        settings that matter for these data; `picture_name`, the first file name of a picture; and
        the sizes of `split`, if the files contain one. If a folder holds pictures, `items_with`
        also counts the items that have a picture there.
        For metadata without reviews: `metadata`, `items` and `items_with`.

    Raises:
        UserError: a path is missing or a configuration, or no format can read a file.
    """
    for path in paths:
        if path.suffix in CONFIGURATION:
            raise UserError(f"{path}: a configuration; name the files or the folder of its data")
    config = formats.sniff(paths, plugins)
    if config.metadata and not config.reviews:
        return _of_metadata(config.metadata)
    configured = known(paths)
    changes: dict[str, Any] = {"k": 0, "max_bad_share": 1.0, "allow_truncated": True}
    if configured.reads(config):
        changes["columns"] = configured.config.ingest.columns
    found = ingest(config.model_copy(update=changes), plugins)
    own = configured.config.images.folder
    places = [own] if own else [path for path in paths if path.is_dir()]
    folders = [
        with_files for each in places if each.is_dir() and (with_files := pictures_of(each)[0])
    ]
    if folders:
        found.statistics["items_with"]["picture"] = with_picture(folders, found)
    found.statistics["picture_name"] = named_picture(found)
    labels = found.given.labels if found.given else None
    if labels is not None:
        split = {name: int((labels == value).sum()) for value, name in SPLIT_NAMES.items()}
        return {**found.statistics, "split": split}
    notes = [*_notes(found.statistics, configured)]
    if places and not folders and (missing := without_files(found.statistics, places[0])):
        notes.append(missing if own else f"{missing} and set images.folder")
    return {**found.statistics, "notes": notes}


def _notes(statistics: dict[str, Any], configured: Known) -> Iterator[str]:
    """Notes on the effect of the configuration, or of the defaults, on these data."""
    least = configured.config.ingest.min_rating
    split = configured.config.split
    if configured.fault:
        yield f"not used: {configured.fault}"
    if configured.file:
        shown = "null" if least is None else f"{least:g}"
        yield (
            f"these notes follow {configured.file}: split.protocol={split.protocol}, "
            f"ingest.min_rating={shown}"
        )
    ratings = {float(stars): count for stars, count in statistics["ratings"].items()}
    low = sum(
        count
        for stars, count in ratings.items()
        if stars <= LOW_RATING and (least is None or stars >= least)
    )
    if low:
        counted = "every rating" if least is None else f"every rating from {least:g} on"
        yield (
            f"{counted} counts as a positive: {low:,} ({low / statistics['interactions']:.1%}) "
            f"have {LOW_RATING:g} stars or fewer; ingest.min_rating leaves them out"
        )
    dated = statistics["time"]["first"] is not None and not statistics["time"]["unknown"]
    if dated and split.protocol == "random":
        default = "" if "protocol" in split.model_fields_set else " by default"
        yield (
            f"the split is random{default}, so models see the future; the data are dated: "
            "split.protocol=leave-last-out or time avoids that"
        )


def _of_metadata(files: Sequence[Path]) -> dict[str, Any]:
    """Counts over the distinct items, whose rows are merged field by field."""
    reading = Reading()
    having: dict[str, np.ndarray] = {}
    for line in read(files, METADATA, 1.0, reading, allow_truncated=True):
        reading.generations[line.generation] += 1
        item = describe(line.row, reading.unusable)
        having[line.asin] = np.array(fields_of(item)) | having.get(line.asin, False)
    if not having:
        raise UserError("paths: no item is left in the metadata; name other files")
    totals = np.array(list(having.values())).sum(axis=0).tolist()
    reading.notes["duplicates"] = reading.generations.total() - len(having)
    return {
        "metadata": reading.statistics(),
        "items": len(having),
        "items_with": dict(zip(ITEMS_WITH, totals, strict=True)),
    }
