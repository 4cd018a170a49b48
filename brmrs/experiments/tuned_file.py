"""The YAML file that a search leaves: the winner, to be laid over any configuration of the data."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from brmrs.config.pipeline import PipelineConfig, put


def write(
    path: Path, config: PipelineConfig, searched: Iterable[str], comments: Iterable[str]
) -> None:
    """Write what the search chose, and what it took the model to be.

    That is: the searched fields, and those of the model that are not at their defaults. How long
    training may take, its batches and the like are for the configuration that it is laid over.

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
