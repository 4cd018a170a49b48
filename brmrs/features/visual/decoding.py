"""Reading and decoding pictures as steps of a cluster. Without torch, so its workers are small."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from brmrs.features.visual.pixels import Preprocessing
from brmrs.images.decode import to_rgb
from brmrs.system.cluster import Columns


def read(batch: Columns) -> Columns:
    """{"row", "path"} to {"row", "data"}: the bytes of the files."""
    paths = [Path(os.fsdecode(path)) for path in batch["path"]]
    return {"row": batch["row"], "data": [path.read_bytes() for path in paths]}


@dataclass(frozen=True)
class Decode:
    """{"row", "data"} to {"row", "pixels": (R, s, s, 3) uint8}."""

    preprocessing: Preprocessing

    def __call__(self, batch: Columns) -> Columns:
        """See the class."""
        found = [self.preprocessing.pixels(to_rgb(data)) for data in batch["data"]]
        return {"row": batch["row"], "pixels": np.stack(found)}
