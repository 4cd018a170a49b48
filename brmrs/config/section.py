"""What every section of the configuration is made of."""

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field

KEYLESS = "in no cache key"
Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Weight = Annotated[float, Field(ge=0)]
Effort = Annotated[int, Field(gt=0), KEYLESS]  # bounds memory or load, not the result


class Section(BaseModel):
    """The configuration of one stage."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )

    def key(self) -> dict[str, Any]:
        """The fields that shape the stage's output, as JSON values."""
        fields = type(self).model_fields.items()
        keyless = {name for name, field in fields if KEYLESS in field.metadata}
        return self.model_dump(mode="json", exclude=keyless)


SectionT = TypeVar("SectionT", bound=Section)
