"""Sections about the machines of a run. No setting here affects an output or a cache key."""

import re
from typing import Annotated

from pydantic import AfterValidator

from brmrs.config.section import KEYLESS, PLACE, Section

_BUCKET = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9_.=-]+)*/?")


def _checked_address(value: str | None) -> str | None:
    """A folder, or `s3://BUCKET/PREFIX` without credentials."""
    if value is None or (value and "://" not in value):
        return value
    if not _BUCKET.fullmatch(value) or "/../" in f"{value}/":
        raise ValueError(
            "expected a folder or s3://BUCKET/PREFIX; credentials and endpoint come from the "
            "environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL)"
        )
    return value


class StoreConfig(Section):
    """The artifact store."""

    shared: Annotated[str | None, AfterValidator(_checked_address), KEYLESS, PLACE] = None
    """Address of the artifacts that several machines share: a folder, or s3://BUCKET/PREFIX. Each
    machine keeps its own store, too."""
