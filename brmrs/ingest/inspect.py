"""What a dump or a benchmark holds, before anything is configured: the data of `brmrs inspect`.

Nothing is left out: no k-core, no minimum rating, whatever share of the lines is bad, and of a file
that is cut off, what is there.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from brmrs.columns import SPLIT_NAMES
from brmrs.config.pipeline import IngestConfig
from brmrs.errors import UserError
from brmrs.ingest import stage as ingest
from brmrs.ingest.amazon.lines import MAX_LINE, read_lines
from brmrs.ingest.amazon.metadata import METADATA, describe
from brmrs.ingest.amazon.records import Reading, RejectedError, read
from brmrs.ingest.files import dump_files
from brmrs.ingest.ready_made import layout as benchmark

LINES_TRIED = 100  # before a file counts as reviews, whose reader then says what is wrong
PATHS = "paths"


def inspect(paths: Sequence[Path]) -> dict[str, Any]:
    """Facts about review files, metadata files, folders of both, or a benchmark's folder.

    Returns:
        The statistics of the stage ingest with k = 0 (JSON values), of a benchmark with the sizes
        of its `split`. Of metadata alone: `metadata`, `items` and `items_with`.

    Raises:
        UserError: a path is missing, or a file is no dump.
    """
    if len(paths) == 1 and paths[0].is_dir() and any(paths[0].glob(f"*{benchmark.INTERACTIONS}")):
        return _of_benchmark(paths[0])
    reviews, metadata = told_apart(dump_files(paths, PATHS))
    if not reviews:
        return _of_metadata(metadata)
    config = IngestConfig(
        reviews=tuple(reviews),
        metadata=tuple(metadata),
        k=0,
        max_bad_share=1,
        allow_truncated=True,  # the quarantine tells
    )
    return ingest.ingest(config).statistics


def told_apart(files: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """The review files and the metadata files, by content: the first line that is metadata tells.

    Raises:
        UserError: a file cannot be read.
    """
    metadata = [path for path in files if _is_metadata(path)]
    return [path for path in files if path not in metadata], metadata


def _is_metadata(path: Path) -> bool:
    for number, line in read_lines(path, lambda _: None):
        if number > LINES_TRIED:
            break
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


def _of_benchmark(folder: Path) -> dict[str, Any]:
    given = benchmark.read(IngestConfig(format="ready-made", path=folder))
    split = {name: int((given.labels == value).sum()) for value, name in SPLIT_NAMES.items()}
    return {**ingest.of_benchmark(given).statistics, "split": split}


def _of_metadata(files: Sequence[Path]) -> dict[str, Any]:
    """Counts over the distinct items; of several rows of one, each field counts once."""
    reading, generations = Reading(), Counter[str]()
    having: dict[str, tuple[bool, bool, bool, bool]] = {}
    for line in read(files, METADATA, 1.0, reading, allow_truncated=True):
        generations[line.generation] += 1
        item = describe(line)
        has = (bool(item.title), bool(item.description), item.has_text, bool(item.image_urls))
        old = having.get(line.asin, (False,) * 4)
        having[line.asin] = (has[0] or old[0], has[1] or old[1], has[2] or old[2], has[3] or old[3])
    if not having:
        raise UserError(f"{PATHS}: no item is left in the metadata; name other files")
    totals = np.array(list(having.values())).sum(axis=0).tolist()
    names = ("title", "description", "text", "image_address")
    return {
        "metadata": {
            "files": reading.files,
            "lines": reading.lines,
            "generations": dict(generations),
            "quarantined": reading.reasons(),
            "duplicates": sum(generations.values()) - len(having),
        },
        "items": len(having),
        "items_with": dict(zip(names, totals, strict=True)),
    }
