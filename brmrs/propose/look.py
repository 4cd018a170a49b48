"""Look at a folder: which files hold interactions, items, users, pictures and vectors."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from brmrs.columns import TEXT, VISUAL
from brmrs.config.data import IngestConfig
from brmrs.config.tables import ColumnsConfig
from brmrs.errors import UserError
from brmrs.images.folder import by_item, picture_files
from brmrs.ingest import formats
from brmrs.ingest.amazon.kinds import kind_of
from brmrs.ingest.clean import is_address
from brmrs.ingest.files import DUMP_NAME, TABLE_NAME, listing
from brmrs.ingest.stage import Ingested
from brmrs.ingest.table import names, recognise
from brmrs.ingest.table.head import Head, read_head
from brmrs.ingest.table.names import words
from brmrs.ingest.table.recognise import Survey
from brmrs.suggest import instead

FIELD = "folder"
PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
TEXT_NAMES = {"text", "texts", "title", "titles", "bert", "minilm", "sbert", "t"}
VISUAL_NAMES = {"visual", "image", "images", "picture", "pictures", "clip", "vgg", "resnet", "v"}
IDS_SUFFIXES = {".txt", ".csv", ".tsv", ".ids"}


@dataclass
class Findings:
    """What a folder holds.

    Attributes:
        folder: the folder.
        ingest: the section `ingest`; paths are those of the files.
        tables: the heads of the tables by field of that section; empty for other formats.
        pictures: the folder of pictures; None: there are none.
        n_pictures: number of files in it.
        ignored: other files, and why.
    """

    folder: Path
    ingest: IngestConfig
    tables: dict[str, list[Head]] = field(default_factory=dict)
    pictures: Path | None = None
    n_pictures: int = 0
    ignored: dict[Path, str] = field(default_factory=dict)

    @property
    def vectors(self) -> dict[str, tuple[Path, ...]]:
        """The files of own vectors by modality."""
        found = {TEXT: self.ingest.text_vectors, VISUAL: self.ingest.visual_vectors}
        return {modality: paths for modality, paths in found.items() if paths}


def look(folder: Path) -> Findings:
    """Look at the files of a folder, and at the pictures in its sub-folders.

    Raises:
        UserError: the folder cannot be read, or holds no interactions.
    """
    if not folder.is_dir():
        advice = instead(folder, "name the folder of your data")
        raise UserError(f"{folder}: no such folder; {advice}")
    files = listing(folder, FIELD)
    found = _dump(folder, files)
    found.pictures, found.n_pictures = pictures_of(folder)
    return found


def _dump(folder: Path, files: Sequence[Path]) -> Findings:
    layout = formats.get("ready-made").sniff([folder])
    if layout:
        return Findings(folder, layout)
    others = {path: "no table, picture or array" for path in files if not _is_known(path)}
    arrays, ids, faults = _arrays(files)
    tables = [path for path in files if TABLE_NAME.fullmatch(path.name) and path not in ids]
    survey = recognise.survey(tables)
    config = recognise.configuration(survey)
    if config is None:
        return _amazon(folder, tables, others, {**survey.others, **_without_user_or_item(survey)})
    of_parquet = {
        path: found for path in survey.others if (found := _parquet_vectors(path)) is not None
    }
    vectors: dict[str, tuple[Path, ...]] = {}
    for path, paths in {**of_parquet, **arrays}.items():
        modality = _modality(path)
        if modality is None or modality in vectors:
            faults[path] = "vectors; name it text_... or image_... to use it"
        else:
            vectors[modality] = paths
    taken = {path for paths in vectors.values() for path in paths}
    ignored = {**others, **survey.others, **faults}
    config = config.model_copy(
        update={f"{modality}_vectors": paths for modality, paths in vectors.items()}
    )
    kept = {path: why for path, why in sorted(ignored.items()) if path not in taken}
    return Findings(folder, config, survey.heads, ignored=kept)


def _is_known(path: Path) -> bool:
    """Whether the name is that of a table, a picture or an array."""
    return bool(TABLE_NAME.fullmatch(path.name)) or path.suffix.lower() in {*PICTURES, ".npy"}


def _without_user_or_item(survey: Survey) -> dict[Path, str]:
    """Why each table is none of interactions, by its file."""
    reasons = {}
    for head in (head for heads in survey.heads.values() for head in heads):
        try:
            names.interactions(head, ColumnsConfig())
        except UserError as error:
            reasons[head.path] = str(error).removeprefix(f"{head.path}: ")
    return reasons


def _amazon(
    folder: Path, tables: Sequence[Path], ignored: dict[Path, str], reasons: Mapping[Path, str]
) -> Findings:
    """Reviews and metadata of an Amazon dump.

    Args:
        folder: that they are in.
        tables: the files that may be some of them.
        ignored: other files, and why; receives the tables that are neither.
        reasons: why each table has no role as a table of one's own.

    Raises:
        UserError: there are no reviews.
    """
    kinds: dict[str, list[Path]] = {"reviews": [], "metadata": []}
    for path in tables:
        try:
            kind = kind_of(path) if DUMP_NAME.fullmatch(path.name) else None
        except UserError as error:
            ignored[path] = reasons.get(path) or str(error).removeprefix(f"{path}: ")
            continue
        if kind is None:
            other = "neither a table with users and items, nor reviews, nor metadata"
            ignored[path] = reasons.get(path, other)
        else:
            kinds[kind].append(path)
    if not kinds["reviews"]:
        ignored |= dict.fromkeys(kinds["metadata"], "metadata of items, without interactions")
        shown = "; ".join(f"{path.name}: {ignored[path]}" for path in tables[:3])
        raise UserError(
            f"{folder}: no file with interactions: a table needs a column of users and one of "
            f"items{f' ({shown})' if shown else ''}; rename the columns, or write "
            f"{folder}/brmrs.yaml with ingest.columns (docs/own-data.md)"
        )
    config = IngestConfig(reviews=tuple(kinds["reviews"]), metadata=tuple(kinds["metadata"]))
    return Findings(folder, config, ignored=ignored)


def _arrays(
    files: Sequence[Path],
) -> tuple[dict[Path, tuple[Path, ...]], set[Path], dict[Path, str]]:
    """The arrays with their files of ids, the files of ids, and arrays without one."""
    found: dict[Path, tuple[Path, ...]] = {}
    faults: dict[Path, str] = {}
    for path in files:
        if path.suffix != ".npy":
            continue
        ids = [other for other in files if _names_rows_of(other, path)]
        if _is_matrix(path) and ids:
            found[path] = (path, ids[0])
        elif _is_matrix(path):
            faults[path] = f"no file of ids; name it {path.stem}_ids.txt, an id a line"
        else:
            faults[path] = "no array of (items, numbers)"
    return found, {paths[1] for paths in found.values()}, faults


def _names_rows_of(ids: Path, array: Path) -> bool:
    """Whether a file is named as the ids of an array: NAME_ids.txt, NAME.ids, item_ids.txt."""
    if ids.suffix.lower() not in IDS_SUFFIXES:
        return False
    return ids.stem in {f"{array.stem}_ids", f"{array.stem}.ids", "item_ids", "ids"} or (
        ids.suffix == ".ids" and ids.stem == array.stem
    )


def _is_matrix(path: Path) -> bool:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception:  # the header is Python source, so reading it may raise any error
        return False
    return isinstance(array, np.ndarray) and array.ndim == 2 and array.dtype.kind in "fiu"


def _parquet_vectors(path: Path) -> tuple[Path, ...] | None:
    try:
        head = read_head(path)
    except UserError:
        return None
    return (path,) if len(head.lists) == 1 else None


def _modality(path: Path) -> str | None:
    found = set(words(path.stem))
    if found & TEXT_NAMES:
        return TEXT
    return VISUAL if found & VISUAL_NAMES else None


def pictures_of(folder: Path) -> tuple[Path | None, int]:
    """The folder of pictures, and their number: the sub-folder that has all, else the folder.

    None and 0 if there are none.

    Raises:
        UserError: the folder cannot be read.
    """
    counts: Counter[str] = Counter()
    for name, path in picture_files(folder).named:
        if path.suffix.lower() in PICTURES:
            parts = PurePosixPath(name).parts
            counts[parts[0] if len(parts) > 1 else ""] += 1
    if not counts:
        return None, 0
    (place,) = counts if len(counts) == 1 else ("",)
    return folder / place, counts.total()


def named_picture(found: Ingested) -> str:
    """The first file name of a picture in the data; "" if there are only addresses, or none."""
    names = (name for item in found.items for name in item.image_urls if not is_address(name))
    return next(names, "")


def without_files(statistics: Mapping[str, Any], folder: Path, where: str = "") -> str:
    """The advice on pictures that the data name and the folder does not have.

    Args:
        statistics: of the stage ingest, with `picture_name` as `named_picture` gives it.
        folder: the folder of the data, which has no picture files.
        where: the columns with the names.

    Returns:
        One sentence; "" if the data name no pictures.
    """
    count = statistics["items_with"]["image_name"]
    if not count:
        return ""
    return (
        f"{count:,} items name pictures{where}, such as {statistics['picture_name']}; {folder} "
        "has no picture files: put them there"
    )


def with_picture(folders: Iterable[Path], found: Ingested) -> int:
    """The number of items that have a file in one of the folders of pictures.

    Raises:
        UserError: a folder cannot be read.
    """
    named = {
        asin: names
        for asin, item in zip(found.asins, found.items, strict=True)
        if (names := [each for each in item.image_urls if not is_address(each)])
    }
    there: set[str] = set()
    for folder in folders:
        there |= by_item(folder, found.asins, named).keys()
    return len(there)
