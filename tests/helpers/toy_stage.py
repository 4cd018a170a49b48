"""A stage small enough to count its runs: copies the split's seed, tells the log that it ran."""

import os
import time
from pathlib import Path

from brmrs.errors import UserError
from brmrs.stages import INCOMPLETE, StageContext

INCOMPLETE_SEED = 500  # its result never settles


def run(context: StageContext) -> None:
    if context.config.split.seed > 1000:
        raise UserError("split.seed: too large")
    with Path(os.environ["TOY_LOG"]).open("a") as log:
        log.write("ran\n")
    time.sleep(float(os.environ.get("TOY_SECONDS", "0")))
    for read, path in context.inputs.items():
        assert path.exists(), read
    result = context.out / "result.txt"
    result.write_text(f"seed {context.config.split.seed}\n")
    if "TOY_MODE" in os.environ:
        result.chmod(int(os.environ["TOY_MODE"], 8))
    if context.config.split.seed == INCOMPLETE_SEED:
        (context.out / INCOMPLETE).write_text("{}\n")
        for folder in (context.scratch, context.stage_cache):
            assert folder is not None
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / "tries").open("a") as tries:
                tries.write("one\n")
    (context.out / "deep").mkdir()
    (context.out / "deep" / "constant.txt").write_text("constant\n")
