"""Feature vectors that a benchmark brings along, as the feature table of a modality."""

import numpy as np

from brmrs.config.pipeline import IMPORTED
from brmrs.errors import UserError
from brmrs.features import table
from brmrs.stages import GIVEN, GIVEN_VECTORS, StageContext


def run(context: StageContext, modality: str, label: str) -> None:
    """Write the benchmark's vectors as they are; a row of zeros is an item without the modality.

    Args:
        context: of the modality's stage.
        modality: "text" or "visual".
        label: what tables and reports call them; "" for their origin and size.

    Raises:
        UserError: the data set brings no vectors of this modality.
    """
    path = context.inputs[GIVEN[modality]] / GIVEN_VECTORS
    if not path.is_file():
        raise UserError(
            f"features.{modality}: {IMPORTED} needs a ready-made data set "
            f"(ingest.format=ready-made) with {modality} features; name a model instead"
        )
    vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    extractor = table.Extractor(
        modality=modality,
        label=label or f"{IMPORTED} {modality} features ({vectors.shape[1]}-d)",
        model=IMPORTED,
        weights=IMPORTED,
        weights_sha256=None,
    )
    which = np.where(vectors.any(axis=1), np.arange(len(vectors)), -1)
    table.write(context.out, vectors, which, extractor)
