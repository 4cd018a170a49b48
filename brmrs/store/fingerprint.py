"""The fingerprint: digests of all input files.

Stage keys hold these digests instead of paths, so renaming a file reruns nothing. The module
imports nothing heavy, because `brmrs plan` must be fast.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from brmrs import extensions
from brmrs.config.data import OF_TABLES, ImagesConfig
from brmrs.config.features import IMPORTED, TextConfig
from brmrs.config.names import is_tower, text_models
from brmrs.config.pipeline import PipelineConfig
from brmrs.errors import UserError
from brmrs.features.catalogue import hub
from brmrs.features.catalogue import torchvision as torchvision_models
from brmrs.features.catalogue.packaged import NO_WEIGHTS
from brmrs.features.catalogue.text import resolve
from brmrs.images.folder import picture_files
from brmrs.ingest import formats
from brmrs.ingest.files import listing
from brmrs.suggest import instead, nearest
from brmrs.system.files import digest_json, digest_unchanged

# Fields of the section `ingest` that name files.
DUMP_FIELDS = ("reviews", "metadata", "path", *(name for name in OF_TABLES if name != "columns"))
# A ready-made layout finds its files by name, and the name of a table may be that of its split.
NAMES_COUNT = {"path", "interactions"}
BACKBONE = "features.visual.backbone"
THREADS = 4  # hashing releases the interpreter lock


def fingerprint(
    config: PipelineConfig, names: Iterable[str] | None = None
) -> dict[str, dict[str, Any]]:
    """Digest the files that the configuration names.

    Args:
        config: names them.
        names: the entries wanted; None: all.

    Returns:
        The requested entries, of `DUMP_FIELDS`, `text_model`, `visual_weights`, `image_folder`,
        `warm_start` and `truth`. Each is `{"sha256": digest of the entry, "files": [{"name",
        "sha256", "bytes"}, ...]}`. The digest of reviews and metadata depends only on the files'
        contents, not on their names or order. The digests of the other entries include the names: a
        picture's name is its item's id, and a model finds its files by name.

    Raises:
        UserError: a file is missing or unreadable, no reviews are configured, or there is
            no such backbone.
    """
    entries: dict[str, Callable[[], dict[str, Any]]] = {
        **{field: partial(_dump, config, field) for field in DUMP_FIELDS},
        "text_model": lambda: _text_model(config.features.text),
        "visual_weights": lambda: _visual_weights(config),
        "image_folder": lambda: _image_folder(config.images),
        "warm_start": lambda: _folder(config.train.warm_start, "train.warm_start"),
        "truth": lambda: _folder(config.diagnosis.truth, "diagnosis.truth"),
    }
    return {name: entries[name]() for name in (entries if names is None else names)}


def _dump(config: PipelineConfig, field: str) -> dict[str, Any]:
    """The files of the dump that a field of the section `ingest` names."""
    paths = _files_of_dump(config).get(field, [])
    if field in NAMES_COUNT:
        return _by_name([(path.name, path) for path in paths])
    return _by_content(paths)


def _files_of_dump(config: PipelineConfig) -> dict[str, list[Path]]:
    dump_format = formats.get(config.ingest.format, config.plugins)
    for field in sorted(set(DUMP_FIELDS) - set(dump_format.fields)):
        if getattr(config.ingest, field):
            raise UserError(
                f"ingest.{field} would have no effect: format {config.ingest.format} does not read "
                f"it; --set ingest.{field}={'null' if field == 'path' else '[]'} leaves it out"
            )
    return dump_format.fingerprint(config.ingest)


def _image_folder(config: ImagesConfig) -> dict[str, Any]:
    return _by_name(picture_files(config.folder).named if config.folder else [])


def _text_model(config: TextConfig) -> dict[str, Any]:
    models = [_model(resolve(name), "features.text.model") for name in text_models(config)]
    if len(models) == 1:
        return models[0]
    return {
        "sha256": digest_json([model["sha256"] for model in models]),
        "files": [file for model in models for file in model["files"]],
    }


def _model(place: Path | str, field: str) -> dict[str, Any]:
    """The files of a model's folder; of a model of the hub, its revision."""
    if isinstance(place, str):
        return {"sha256": digest_json([place, hub.revision(place, field)]), "files": []}
    named = [
        (path.relative_to(place).as_posix(), path) for path in place.rglob("*") if path.is_file()
    ]
    return _by_name([(name, path) for name, path in named if not _hidden(name)])


def _hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def _visual_weights(whole: PipelineConfig) -> dict[str, Any]:
    config = whole.features.visual
    own = extensions.known("backbone", whole.plugins)
    pretrained = config.weights == "pretrained" and config.weights_path is None
    if pretrained and config.backbone in own and "weights" not in own[config.backbone].options:
        raise UserError(NO_WEIGHTS.format(name=config.backbone))
    if is_tower(config.backbone):
        return _model(resolve(config.backbone, BACKBONE), BACKBONE)
    known = torchvision_models.names()
    if known and config.backbone not in {IMPORTED, *known, *own}:
        names = sorted({*known, *own})
        near = nearest(config.backbone, names, 3) or names
        raise UserError(f"{BACKBONE}: no {config.backbone!r}; there are {', '.join(near)}")
    path = config.weights_path
    if path is None:
        return _by_content([])
    if not path.is_file():
        advice = instead(path, "correct the path")
        raise UserError(f"features.visual.weights_path: {path}: no such file; {advice}")
    return _by_content([path])


def _folder(folder: Path | None, field: str) -> dict[str, Any]:
    """The files of the folder that a field names."""
    return _by_name([(path.name, path) for path in listing(folder, field)] if folder else [])


def _by_content(paths: list[Path]) -> dict[str, Any]:
    files = _digests((path.name, path) for path in paths)
    return {"sha256": digest_json(sorted(file["sha256"] for file in files)), "files": files}


def _by_name(paths: list[tuple[str, Path]]) -> dict[str, Any]:
    files = _digests(sorted(paths))
    return {
        "sha256": digest_json([[file["name"], file["sha256"]] for file in files]),
        "files": files,
    }


def _digests(named: Iterable[tuple[str, Path]]) -> list[dict[str, Any]]:
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(lambda pair: _digest(*pair), named))


def _digest(name: str, path: Path) -> dict[str, Any]:
    try:
        return {"name": name, "sha256": digest_unchanged(path), "bytes": path.stat().st_size}
    except OSError as error:
        advice = instead(path, "correct the path or its permissions")
        raise UserError(f"{path}: {error.strerror}; {advice}") from error
