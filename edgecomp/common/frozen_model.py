"""The base of every value that travels between modules or onto disk."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict

from edgecomp.common.safe_text import one_line

OneLine = Annotated[str, AfterValidator(one_line)]
"""A field whose text comes from a model and is shown or written."""


class FrozenModel(BaseModel):
    """A frozen, closed record: an unknown field is an error, never silently dropped."""

    # JSON has no number that is NaN or infinite: such a one is written as the string "NaN",
    # "Infinity" or "-Infinity", which every JSON parser reads and a float field takes back.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    def __copy__(self) -> Self:
        """A copy may be given other fields (`model_copy`): cached properties are derived anew."""
        copied = super().__copy__()
        values, fields = copied.__dict__, self.__pydantic_fields__
        if len(values) > len(fields):
            for name in values.keys() - fields.keys():
                del values[name]
        return copied
