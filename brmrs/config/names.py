"""Meaning of some fields' values. It decides what stages do, so it is part of the cache keys."""

from brmrs.config.features import IMPORTED, TextConfig


def text_models(config: TextConfig) -> tuple[str, ...]:
    """The text models, each once, in the configured order; none if the vectors are imported."""
    names = (config.model,) if isinstance(config.model, str) else config.model
    return tuple(name for name in dict.fromkeys(names) if name != IMPORTED)


def is_tower(backbone: str) -> bool:
    """Whether a visual backbone is a sentence-transformers model: its name has a slash."""
    return "/" in backbone
