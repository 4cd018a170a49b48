"""Paths of a configuration file, made relative to the working directory."""

import os
from pathlib import Path
from typing import Any

from brmrs.config.pipeline import PipelineConfig
from brmrs.config.plain import NotPlainError
from brmrs.config.section import NAME_OR_PLACE, PLACE, Section


def anchored(
    values: dict[str, Any], folder: Path, section: type[Section] = PipelineConfig
) -> dict[str, Any]:
    """Plain values with every path joined to a folder; `~` is the home directory.

    An address with `://` stays as it is.

    Some fields take a name or a path (`NAME_OR_PLACE`). The value is a path if it begins with `.`,
    or if it has a slash and is an existing folder.

    Args:
        values: of the section, unchecked. A value that should be a path but is no text stays as it
            is.
        folder: what relative paths are relative to.
        section: what the values are of.

    Raises:
        NotPlainError: a path has line breaks or other control characters.
    """
    found = dict(values)
    for name, field in section.model_fields.items():
        value = values.get(name)
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Section) and isinstance(value, dict):
            found[name] = anchored(value, folder, inner)
        elif PLACE in field.metadata or NAME_OR_PLACE in field.metadata:
            may_be_name = NAME_OR_PLACE in field.metadata
            if isinstance(value, str):
                found[name] = _joined(value, folder, may_be_name)
            elif isinstance(value, list):
                found[name] = [
                    _joined(each, folder, may_be_name) if isinstance(each, str) else each
                    for each in value
                ]
    return found


def _joined(place: str, folder: Path, may_be_name: bool) -> str:
    if any(each < " " or each == "\x7f" for each in place):
        raise NotPlainError(f"the path {ascii(place)[:60]} has control characters")
    if "://" in place:
        return place
    joined = os.path.normpath(folder / os.path.expanduser(place))
    if may_be_name and not place.startswith((".", "~")):
        return joined if "/" in place and os.path.isdir(joined) else place
    return joined
