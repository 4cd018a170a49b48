"""The YAML file that a search leaves: the winner, to be laid over the data set's configuration."""

from pathlib import Path
from typing import Any

import yaml

from brmrs.config import PipelineConfig

HERE_AND_NOW = {"seed", "device", "warm_start"}  # of the section `train`: no outcome of a search


def write(path: Path, config: PipelineConfig, comments: list[str]) -> None:
    """Write the sections `model` and `train` of a configuration below these comments."""
    train = config.train.model_dump(mode="json", exclude=HERE_AND_NOW)
    values: dict[str, Any] = {"model": config.model.model_dump(mode="json"), "train": train}
    text = "".join(f"# {line}\n" for line in comments) + yaml.safe_dump(values, sort_keys=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
