"""Old names of configuration fields and values, and their current names."""

from pydantic_core import ErrorDetails

# Dotted path of a field that no longer exists -> the field that replaces it.
FIELDS = {
    "overlap": "concurrency",
    "graphs.overlap": "graphs.co_occurrence",
    "features.text.long": "features.text.long_texts",
    "features.visual.node": "features.visual.layer",
    "features.visual.file": "features.visual.weights_path",
}
# Field of a model or its objective that no longer exists -> the field that replaces it; if there
# are several, the one that the section has.
MODEL_FIELDS = {"negatives": ("n_negatives", "sampler")}
# (dotted path, value that no longer exists) -> what to do.
VALUES = {
    ("features.visual.weights", "file"): "file was removed; set only features.visual.weights_path",
}


def instead(path: str, fault: ErrorDetails) -> str | None:
    """The replacement for an old name that pydantic refuses; None if it is not an old name.

    Args:
        path: the field's dotted path.
        fault: pydantic's error.
    """
    if fault["type"] == "extra_forbidden" and path in FIELDS:
        return f"renamed to {FIELDS[path]}"
    value = fault["input"]
    return VALUES.get((path, value)) if isinstance(value, str) else None
