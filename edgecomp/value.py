"""The base of every value that travels between modules or onto disk."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Value(BaseModel):
    """A frozen, closed record: an unknown field is an error, never silently dropped."""

    model_config = ConfigDict(frozen=True, extra="forbid")
