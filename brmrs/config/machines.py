"""Sections about the machines of a run. No setting here affects an output or a cache key."""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from brmrs.config.section import KEYLESS, PLACE, Effort, Section
from brmrs.config.without_effect import refuse

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


class ExecutionConfig(Section):
    """Where texts and pictures are embedded, pictures fetched and processes train together."""

    engine: Annotated[Literal["local", "ray"], KEYLESS] = "local"
    """`local`: on this machine. `ray`: by actors of a Ray cluster, which needs brmrs[ray] on all of
    its machines. A training in one process is always on this machine."""
    address: Annotated[str | None, KEYLESS] = None
    """The Ray cluster: HOST:PORT, or `auto` for the one of this machine. Null: one is started on
    this machine."""
    workers: Annotated[int | None, Field(gt=0), KEYLESS] = None
    """Number of actors that embed or fetch; null: as many as the cluster has room for."""
    cores: Effort = 1
    """Cores of each actor."""
    gpus: Annotated[float, Field(ge=0), KEYLESS] = 0.0
    """GPUs of each actor, which may be a fraction. An actor that trains takes one, if this is not
    0."""

    @model_validator(mode="after")
    def _every_field_has_an_effect(self) -> Self:
        if self.engine == "local":
            refuse(self, ("address", "workers", "cores", "gpus"), "engine=local has no actors")
        return self


class StoreConfig(Section):
    """The artifact store."""

    shared: Annotated[str | None, AfterValidator(_checked_address), KEYLESS, PLACE] = None
    """Address of the artifacts that several machines share: a folder, or s3://BUCKET/PREFIX. Each
    machine keeps its own store, too."""
