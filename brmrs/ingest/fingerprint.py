"""The fingerprint: digests of all bytes that come from outside.

Stage keys hold these digests instead of paths, so the same bytes under another name rerun
nothing. Imports nothing heavy: `brmrs plan` must answer at once.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from brmrs.config import IMPORTED, PipelineConfig, TextConfig, VisualConfig
from brmrs.errors import UserError
from brmrs.files import digest_file, digest_json
from brmrs.ingest.benchmark import benchmark_files
from brmrs.ingest.files import dump_files, listing
from brmrs.text_model import resolve

THREADS = 4  # hashing releases the interpreter lock


def fingerprint(config: PipelineConfig) -> dict[str, dict[str, Any]]:
    """Digest every file that the configuration names.

    Returns:
        The entries `reviews`, `metadata`, `benchmark`, `text_model`, `visual_weights` and
        `image_folder`, each `{"sha256": digest of the entry, "files": [{"name", "sha256",
        "bytes"}, ...]}`. The digest
        of reviews and metadata depends on the files' contents alone, neither on their names nor
        on their order, and so does what ingest makes of them. Names count in the other entries: a
        picture's name is its item's id, and a model finds its files by name.

    Raises:
        UserError: a file is missing or unreadable, or no reviews are configured.
    """
    ready_made = config.ingest.format == "benchmark"
    if not (ready_made or config.ingest.reviews):
        raise UserError("ingest.reviews: no review dump is configured; set ingest.reviews=PATH")
    benchmark = benchmark_files(config.ingest) if ready_made else []
    images = config.images.folder
    pictures = [] if images is None else listing(images, "images.folder")
    return {
        "reviews": _by_content(dump_files(config.ingest.reviews, "ingest.reviews")),
        "metadata": _by_content(dump_files(config.ingest.metadata, "ingest.metadata")),
        "benchmark": _by_name([(path.name, path) for path in benchmark]),
        "text_model": _text_model(config.features.text),
        "visual_weights": _visual_weights(config.features.visual),
        "image_folder": _by_name([(path.name, path) for path in pictures]),
    }


def _text_model(config: TextConfig) -> dict[str, Any]:
    if config.model == IMPORTED:
        return _by_content([])
    model = resolve(config.model)
    if isinstance(model, str):  # an id of the hub: its bytes are not here to be digested
        return {"sha256": digest_json(model), "files": []}
    named = [
        (path.relative_to(model).as_posix(), path) for path in model.rglob("*") if path.is_file()
    ]
    return _by_name([(name, path) for name, path in named if not _hidden(name)])


def _hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def _visual_weights(config: VisualConfig) -> dict[str, Any]:
    if config.weights != "file":
        return _by_content([])
    if config.file is None:
        raise UserError(
            "features.visual.file: `weights: file` needs a state dict; "
            "set features.visual.file=PATH"
        )
    if not config.file.is_file():
        raise UserError(f"features.visual.file: {config.file}: no such file; correct the path")
    return _by_content([config.file])


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
        return {"name": name, "sha256": digest_file(path), "bytes": path.stat().st_size}
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; correct the path or its permissions") from error
