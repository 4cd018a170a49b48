"""Something for the toy stage to read."""

from pathlib import Path
from typing import Any

from brmrs.config.load import parse
from brmrs.config.pipeline import PipelineConfig
from brmrs.store.fingerprint import fingerprint


def dump(folder: Path, text: str = "a review", seed: int = 0) -> tuple[PipelineConfig, Any]:
    """A configuration with a dump of one file, and its fingerprint."""
    path = folder / "reviews.json"
    if not path.exists() or path.read_text() != text:  # nobody may see it change
        path.write_text(text)
    config = parse({"ingest": {"reviews": path}, "split": {"seed": seed}}, "toy")
    return config, fingerprint(config, ("reviews",))
