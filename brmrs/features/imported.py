"""Feature vectors that the data include, as the feature table of a modality."""

import logging

import numpy as np

from brmrs.config.features import IMPORTED, TextConfig, VisualConfig
from brmrs.errors import UserError
from brmrs.features import table
from brmrs.stages import GIVEN, GIVEN_VECTORS, StageContext
from brmrs.system.files import digest_file

LOG = logging.getLogger(__name__)


def run(context: StageContext, modality: str, config: TextConfig | VisualConfig) -> None:
    """Write the data set's vectors unchanged; a row of zeros is an item without the modality.

    Args:
        context: of the modality's stage.
        modality: "text" or "visual".
        config: of the modality; has the label.

    Raises:
        UserError: the data set includes no vectors of this modality.
    """
    path = context.inputs[GIVEN[modality]] / GIVEN_VECTORS
    if not path.is_file():
        raise UserError(
            f"features.{modality}: {IMPORTED} needs a ready-made data set "
            f"(ingest.format=ready-made) with {modality} features, or ingest.{modality}_vectors of "
            "tables; name a model instead"
        )
    vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    digest = digest_file(path)
    label = config.label
    if config.label_sha256 not in ("", digest):
        LOG.warning(
            "features.%s.label: %r names vectors with another digest (label_sha256); these have %s "
            "and are labelled %s",
            modality,
            label,
            digest,
            IMPORTED,
        )
        label = ""
    extractor = table.Extractor(
        modality=modality,
        label=label or f"{IMPORTED} {modality} features ({vectors.shape[1]}-d)",
        model=IMPORTED,
        weights=IMPORTED,
        weights_sha256=digest,
    )
    which = np.where(vectors.any(axis=1), np.arange(len(vectors)), -1)
    table.write(context.out, vectors, which, extractor)
