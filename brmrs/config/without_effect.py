"""Settings without effect are errors, because a user who writes one expects an effect."""

from collections.abc import Iterable

from pydantic import BaseModel


def refuse(section: BaseModel, names: Iterable[str], reason: str) -> None:
    """Raise a ValueError for the fields that are not at their defaults.

    Values are compared with the defaults, because a run's stored configuration contains every
    field.

    Args:
        section: with all its values.
        names: fields that have no effect beside the section's other values.
        reason: why.

    Raises:
        ValueError: names the fields.
    """
    fields = type(section).model_fields
    idle = [
        name
        for name in names
        if getattr(section, name) != fields[name].get_default(call_default_factory=True)
    ]
    if idle:
        raise ValueError(f"{', '.join(idle)} would have no effect: {reason}")
