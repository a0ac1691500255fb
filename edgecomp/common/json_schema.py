"""The JSON schema of a value as it is written."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core.core_schema import FloatSchema

from edgecomp.common.frozen_model import FrozenModel

NOT_FINITE = ("NaN", "Infinity", "-Infinity")


class _Schema(GenerateJsonSchema):
    def float_schema(self, schema: FloatSchema) -> JsonSchemaValue:
        return {"anyOf": [super().float_schema(schema), {"enum": list(NOT_FINITE)}]}


def json_schema(value: type[FrozenModel]) -> dict[str, Any]:
    """The schema; numbers that are not finite are strings (see FrozenModel)."""
    return value.model_json_schema(mode="serialization", schema_generator=_Schema)
