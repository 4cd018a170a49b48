"""The base class of the configuration's sections, and the types of their fields.

A path, or a limit of memory or load, is marked `KEYLESS` and is not part of cache keys. The content
of the files enters instead.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from brmrs.config import metric

KEYLESS = "in no cache key"
PLACE = "a path"  # in a YAML file relative to that file's folder
NAME_OR_PLACE = "a name, or a path"  # in a YAML file relative to that file's folder
NAME_PATTERN = r"^[\w.-]+$"
Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Weight = Annotated[float, Field(ge=0)]
Effort = Annotated[int, Field(gt=0), KEYLESS]  # bounds memory or load, not the result
CutOffs = Annotated[tuple[Annotated[int, Field(gt=0, le=10_000)], ...], Field(min_length=1)]
Sizes = Annotated[tuple[Annotated[int, Field(gt=0)], ...], Field(min_length=1)]


def _one_or_more(value: object) -> object:
    """One path may be written instead of a list of one."""
    return (value,) if isinstance(value, str | Path) else value


_OneOrMore = BeforeValidator(_one_or_more, json_schema_input_type=Path | list[Path])
Location = Annotated[Path | None, KEYLESS, PLACE]
Locations = Annotated[tuple[Path, ...], _OneOrMore, KEYLESS, PLACE]
Metric = Annotated[str, AfterValidator(metric.checked)]  # such as "recall@20"


@dataclass(frozen=True)
class Search:
    """The range in which `brmrs tune` searches a field: `Annotated[float, Search(0.1, 10.0)]`.

    Attributes:
        low: the smallest value.
        high: the largest value.
        log: whether values are drawn on a logarithmic scale.
    """

    low: float
    high: float
    log: bool = False


class Section(BaseModel):
    """The configuration of one stage. The text below a field is its description."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )

    def key(self) -> dict[str, Any]:
        """The fields that shape the stage's output, as JSON values."""
        fields = type(self).model_fields.items()
        keyless = {name for name, field in fields if KEYLESS in field.metadata}
        return self.model_dump(mode="json", exclude=keyless)


SectionT = TypeVar("SectionT", bound=Section)
