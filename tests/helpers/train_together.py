"""Run the stage `train` in two processes: python train_together.py FOLDER EPOCHS.

The folder holds `inputs` (of `board_artifacts.write_inputs`) and `pids`; `out`, `scratch` and `log`
are made.
"""

import logging
import shutil
import sys
from functools import partial
from pathlib import Path

from board_artifacts import config, inputs_of
from by_columns import learn_often

from brmrs.stages import StageContext
from brmrs.training import stage


def main(root: Path, epochs: int) -> None:
    """Train."""
    logging.basicConfig(filename=root / "log", level=logging.INFO)
    vars(stage)["learn_columns"] = partial(learn_often, root / "pids")
    settings = config("lightgcn", epochs=epochs, patience=epochs, processes=2)
    out, scratch = root / "out", root / "scratch"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    scratch.mkdir(exist_ok=True)
    stage.run(StageContext(settings, inputs_of(root / "inputs"), out, scratch))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
