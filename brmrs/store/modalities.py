"""Check before a run that the data can have the modalities that the model needs."""

from collections.abc import Iterable

from brmrs.config.features import IMPORTED
from brmrs.config.pipeline import PipelineConfig
from brmrs.errors import UserError
from brmrs.ingest import formats
from brmrs.models.registry import needs
from brmrs.stages import Stage

FROM_MODALITIES = {"features", "modality_graphs"}  # needs that require texts or pictures


def modalities(config: PipelineConfig) -> tuple[bool, bool]:
    """Whether the data may have texts, and pictures.

    A format that does not read `ingest.metadata` may have texts, vectors and picture addresses in
    other files.

    Raises:
        UserError: a file of the dump is missing.
    """
    dump_format = formats.get(config.ingest.format, config.plugins)
    if config.ingest.format == "table":
        described = bool(config.ingest.items)
        of_files = bool(config.images.folder) or (described and config.images.fetch)
        texts, pictures = config.ingest.text_vectors, config.ingest.visual_vectors
        return described or bool(texts), of_files or bool(pictures)
    if "metadata" not in dump_format.fields:
        imported = config.features.visual.backbone == IMPORTED
        return True, imported or bool(config.images.folder) or config.images.fetch
    metadata = bool(dump_format.fingerprint(config.ingest).get("metadata"))
    return metadata, bool(config.images.folder) or (metadata and config.images.fetch)


def check_modalities(config: PipelineConfig, stages: Iterable[Stage]) -> None:
    """Check that there can be texts or pictures if these stages train a model that needs them.

    Raises:
        UserError: there can be none.
    """
    described = "items" if config.ingest.format == "table" else "metadata"
    trains = any(stage.name == "train" for stage in stages)
    residuals = config.model.residuals.reading_neighbours
    required = residuals or FROM_MODALITIES & set(needs(config.model))
    if trains and required and not any(modalities(config)):
        what = f"model.residuals.{residuals[0]}" if residuals else f"model {config.model.name}"
        raise UserError(
            f"{what} needs texts or pictures, and there are none: set "
            f"ingest.{described} or images.folder, or choose a model that needs interactions only "
            "(brmrs models)"
        )
