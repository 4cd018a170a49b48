"""The YAML file of a search's winner, which overrides any configuration of the data set."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from brmrs.config.pipeline import PipelineConfig, put


def write(
    path: Path, config: PipelineConfig, searched: Iterable[str], comments: Iterable[str]
) -> None:
    """Write the searched fields, and the model's fields that are not at their defaults.

    Epochs, batch size and other settings of training come from the configuration that the file
    overrides.

    Args:
        path: the file; its folder is made.
        config: the configuration of the best trial.
        searched: dotted paths of the fields.
        comments: lines at its top.
    """
    model = config.model.model_dump(mode="json", exclude_defaults=True)
    values: dict[str, Any] = {"model": {"name": config.model.name, **model}}
    for field in searched:
        put(values, field, config.section(field))
    text = "".join(f"# {line}\n" for line in comments) + yaml.safe_dump(values, sort_keys=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
