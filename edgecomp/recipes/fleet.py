"""What a fleet is to be, as a file: models, devices, tasks and limits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from edgecomp.common.frozen_model import FrozenModel
from edgecomp.common.quantity import format_size
from edgecomp.common.tasks import Task
from edgecomp.common.yaml_file import read_yaml
from edgecomp.devices.profile import Backend, Bytes
from edgecomp.formats.expected_loss import TOLERATED_NATS
from edgecomp.recipes.constraints import Constraints
from edgecomp.recipes.recipe import EvaluationSettings

Size = Annotated[Bytes, Field(gt=0)]
"""Written with its unit ("6 GB"), held in bytes."""

DEFAULT_CONTEXT = 4096
FleetRuntime = Literal["llama.cpp", "onnx"]


class FleetLimits(FrozenModel):
    """What an artifact must keep on a device; None: no limit."""

    context: int | None = Field(default=None, gt=0)
    """Tokens to serve; None: 4096, or the model's own where it is shorter."""

    max_memory: Size | None = None
    max_size: Size | None = None
    min_speed: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Decoded tokens a second."""

    def over(self, base: FleetLimits) -> FleetLimits:
        """These limits, and those of `base` where nothing is said here."""
        return base.model_copy(update={name: getattr(self, name) for name in self.model_fields_set})

    def constraints(self, context_length: int) -> Constraints:
        """As the planner takes them, for a model that was trained for `context_length` tokens."""
        default = min(DEFAULT_CONTEXT, context_length or DEFAULT_CONTEXT)
        return Constraints(
            context=self.context or default,
            max_memory_bytes=self.max_memory,
            max_size_bytes=self.max_size,
            min_decode_tokens_per_second=self.min_speed,
        )


class WantedDevice(FrozenModel):
    """One profile by name, or every profile that the other entries describe."""

    profile: str | None = None
    memory_at_least: Size | None = None
    """Of the device's fastest memory, as its profile says it."""

    memory_at_most: Size | None = None
    backend: Backend | None = None
    """That of one of its processors."""

    runtime: FleetRuntime = "llama.cpp"
    """What runs the artifact there."""

    limits: FleetLimits = FleetLimits()
    """Over the fleet's own."""

    @model_validator(mode="after")
    def _names_devices(self) -> Self:
        described = self.memory_at_least or self.memory_at_most or self.backend
        if self.profile and described:
            raise ValueError("a profile is named, so memory and backend say nothing more")
        if not self.profile and not described and "runtime" not in self.model_fields_set:
            raise ValueError("a device is a profile's name, or described by memory or backend")
        return self

    @property
    def label(self) -> str:
        """How people name it."""
        if self.profile:
            return self.profile
        parts = [
            f"memory at least {format_size(self.memory_at_least)}" if self.memory_at_least else "",
            f"memory at most {format_size(self.memory_at_most)}" if self.memory_at_most else "",
            f"backend {self.backend}" if self.backend else "",
            f"runtime {self.runtime}" if "runtime" in self.model_fields_set else "",
        ]
        return ", ".join(filter(None, parts))


def _named_device(value: object) -> object:
    return {"profile": value} if isinstance(value, str) else value


class FleetRequest(FrozenModel):
    """Every model is to be served on every device for every task."""

    schema_version: Literal[1] = 1
    models: tuple[str, ...] = Field(min_length=1)
    devices: tuple[Annotated[WantedDevice, BeforeValidator(_named_device)], ...] = Field(
        min_length=1
    )
    tasks: tuple[Task, ...] = Field(default=("general",), min_length=1)
    limits: FleetLimits = FleetLimits()
    tolerated_nats: dict[Task, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = Field(
        default={}
    )
    """Expected divergence that a task bears, where it is not what `fit` takes for it."""

    evaluation: EvaluationSettings = EvaluationSettings()
    """How the artifacts are judged, and what they may lose by capability."""

    def tolerated(self, task: Task) -> float:
        """Nats a token that an artifact for the task may be expected to lose."""
        return self.tolerated_nats.get(task, TOLERATED_NATS[task])


def read_fleet(path: Path) -> FleetRequest:
    """Read a fleet's file. Raises RecipeInvalid, naming the line and the field."""
    return read_yaml(path, FleetRequest, "fleet")
