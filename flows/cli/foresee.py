"""`brmrs doctor -c FILE`: checks whether a run of this configuration has all that it needs."""

import shutil
import socket
from collections.abc import Callable
from pathlib import Path

from brmrs import extensions
from brmrs.config.features import IMPORTED
from brmrs.config.names import is_tower
from brmrs.config.pipeline import PipelineConfig
from brmrs.errors import UserError
from brmrs.features.catalogue.packaged import backbone_weights
from brmrs.ingest import formats
from brmrs.ingest.table.format import NAME as TABLE
from brmrs.models.registry import needs
from brmrs.stages import externals, needed
from brmrs.store.fingerprint import fingerprint
from brmrs.store.modalities import check_modalities, modalities
from brmrs.store.shared.address import check
from brmrs.system.cluster import Pool, room

BYTES_WANTED = 2 * 10**9  # free, for the artifacts of a small data set
COPIES = 2  # of the dump and the pictures, that a run writes at most, roughly
SECONDS_TO_CONNECT = 3.0


def looks(config: PipelineConfig, artifacts: Path) -> list[tuple[str, Callable[[], str]]]:
    """The checks by name; each returns its finding, or raises UserError."""
    return [
        ("inputs", lambda: _inputs(config)),
        *([("columns", lambda: _columns(config))] if config.ingest.format == TABLE else []),
        ("model", lambda: _model(config)),
        ("visual weights", lambda: _visual_weights(config)),
        *([("shared store", lambda: _shared(config))] if config.store.shared else []),
        *([("cluster", lambda: _cluster(config))] if config.execution.engine == "ray" else []),
        ("room", lambda: _room(config, artifacts)),
    ]


def _inputs(config: PipelineConfig) -> str:
    """Check that the configured files exist, and that hubs have the configured models."""
    found = fingerprint(config, externals(needed(config)))
    files = [file for entry in found.values() for file in entry["files"]]
    return f"{len(files):,} files, {sum(file['bytes'] for file in files) / 1e9:.2f} GB"


def _columns(config: PipelineConfig) -> str:
    """Check that the tables have the configured columns, and name those that are guessed."""
    from brmrs.ingest.table.recognise import described  # loads polars

    return "; ".join(
        f"{file}: {', '.join(f'{role} = {column}' for role, column in columns.items())}"
        for file, columns in described(config.ingest).items()
    )


def _model(config: PipelineConfig) -> str:
    wanted = needs(config.model)
    if not wanted:
        return f"{config.model.name} needs interactions only"
    check_modalities(config, needed(config))
    texts, pictures = modalities(config)
    has = " and ".join(name for name, there in (("texts", texts), ("pictures", pictures)) if there)
    return f"{config.model.name} needs {', '.join(wanted)}; the data have {has}"


def _visual_weights(config: PipelineConfig) -> str:
    visual = config.features.visual
    read = any(stage.name == "visual_features" for stage in needed(config))
    if not read or not modalities(config)[1] or visual.backbone == IMPORTED:
        return "not needed"
    if is_tower(visual.backbone):
        return f"{visual.backbone} has its own"
    if visual.weights != "pretrained" or visual.weights_path is not None:
        return str(visual.weights_path or visual.weights)

    own = extensions.look_up("backbone", visual.backbone, config.plugins)
    if own and (path := backbone_weights(visual.backbone, own.options)):
        return f"{visual.backbone}, pretrained on ImageNet, SHA-256 verified: {path.name}"

    from brmrs.features.visual.backbones import pretrained_file  # loads torch

    file, url = pretrained_file(visual.backbone)
    if file.is_file():
        return str(file)
    host = url.split("/")[2]
    try:
        socket.create_connection((host, 443), SECONDS_TO_CONNECT).close()
    except OSError as error:
        raise UserError(
            f"{file} is missing, and {host} does not answer: put the file there, or set "
            "features.visual.weights_path to a file of yours, or "
            "features.visual.backbone=efficientnet-lite0, whose weights are installed"
        ) from error
    return f"a run downloads {url}"


def _shared(config: PipelineConfig) -> str:
    """Check that the shared address can be written, and creates an object only once."""
    address = config.store.shared or ""
    check(address)
    return address


def _cluster(config: PipelineConfig) -> str:
    """Check that there is a Ray cluster with room for the actors."""
    settings = config.execution
    return room(Pool(settings.address, settings.workers, settings.cores, settings.gpus))


def _room(config: PipelineConfig, artifacts: Path) -> str:
    """Free space for the artifacts, estimated from the size of the input."""
    dump_format = formats.get(config.ingest.format, config.plugins)
    paths = [path for group in dump_format.fingerprint(config.ingest).values() for path in group]
    if config.images.folder:
        paths += [path for path in config.images.folder.rglob("*") if path.is_file()]
    wanted = max(BYTES_WANTED, COPIES * sum(path.stat().st_size for path in paths))
    folder = artifacts.absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise UserError(
            f"{free / 1e9:.1f} GB free at {folder}, and a run of this size may take "
            f"{wanted / 1e9:.1f} GB; free space, or choose another folder with --artifacts"
        )
    return f"{free / 1e9:.0f} GB free, a run of this size may take {wanted / 1e9:.1f} GB"
