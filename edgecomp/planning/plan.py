"""The planner's answer as values: candidates, what becomes of each family, and the job's cost."""

from __future__ import annotations

from functools import cached_property
from typing import Literal

from pydantic import Field

from edgecomp.common.frozen_model import FrozenModel
from edgecomp.common.quantity import format_duration, format_size
from edgecomp.common.tasks import Effort
from edgecomp.formats.execution_providers import execution_provider
from edgecomp.formats.expected_loss import Risk
from edgecomp.formats.presets import SOURCE
from edgecomp.planning.memory import MemoryEstimate
from edgecomp.planning.placement import Placement
from edgecomp.planning.placement_speed import LayerGain, PlacedSpeed
from edgecomp.planning.speed import SpeedEstimate
from edgecomp.recipes.constraints import Constraints
from edgecomp.recipes.run_settings import RunSettings

Verdict = Literal["fits", "tight", "no"]


class Rejection(FrozenModel):
    """Why a candidate is out: what stands against it, and that in a sentence."""

    cause: Literal["format", "memory", "limit", "size", "speed", "context", "kv-type", "dominated"]
    """`memory`: the device's; `limit`: --max-memory; `dominated`: another is better in all."""

    text: str


class Candidate(FrozenModel):
    """One artifact that could be made, and how it would run on the device."""

    format: str
    """A preset's name; `source`: the file as it is; `mix`: types chosen tensor by tensor."""

    types: dict[str, str] = Field(default={})
    """A mixture's, by tensor; empty: the format says them."""

    budget_bytes: int | None = None
    """The size of the file that a mixture is chosen to fill."""

    provider: str = "cpu"
    """The execution provider of ONNX Runtime that it is for."""

    context: int
    placement: Placement
    settings: RunSettings
    file_bytes: int
    bits_per_weight: float
    memory: MemoryEstimate
    pool_bytes: dict[str, int]
    """Peak bytes in each of the device's memories."""

    speed: SpeedEstimate
    expected_divergence_nats: float
    risk: Risk
    fits: Verdict
    rejections: tuple[Rejection, ...]
    """Empty: it can be chosen."""

    notes: tuple[str, ...]

    @cached_property
    def label(self) -> str:
        """How people name it."""
        where = f", {self.where}" if self.where else ""
        return f"{self.name} at context {self.context}{where}"

    @property
    def where(self) -> str:
        """What of it runs beside the CPU; empty: nothing does."""
        if self.provider != "cpu":
            return execution_provider(self.provider).title
        return self.placement.label

    @property
    def exact(self) -> bool:
        """Whether every value is the source's."""
        own = self.format == SOURCE or bool(self.types)
        return own and self.expected_divergence_nats == 0

    @property
    def name(self) -> str:
        """The format; of a mixture also its bits a weight, which tell it from others."""
        return f"{self.format} {self.bits_per_weight:.2f}" if self.types else self.format


class Family(FrozenModel):
    """A family of methods (R2, R24): kept, or out with its reason."""

    name: Literal["quantization", "pruning", "distillation"]
    kept: bool
    reason: str


class StageCost(FrozenModel):
    """What one stage of the job needs on the machine that does the work; `basis` says how known."""

    stage: str
    seconds: float
    peak_memory_bytes: int
    disk_bytes: int
    basis: str


class JobCost(FrozenModel):
    """The whole job on this machine, before it starts."""

    stages: tuple[StageCost, ...]
    free_memory_bytes: int
    free_disk_bytes: int
    refusals: tuple[str, ...]
    """Why this machine cannot do it; empty: it can."""

    question_seconds: float | None = None
    """What a question takes of base and artifact together; None where none is asked."""

    effort_seconds: dict[Effort, float] = Field(default={})
    """How long the job takes at each effort; empty where that changes nothing."""

    @cached_property
    def seconds(self) -> float:
        return sum(stage.seconds for stage in self.stages)

    @cached_property
    def peak_memory_bytes(self) -> int:
        return max(stage.peak_memory_bytes for stage in self.stages)

    @cached_property
    def disk_bytes(self) -> int:
        return sum(stage.disk_bytes for stage in self.stages)

    @cached_property
    def sentence(self) -> str:
        """The whole job, and the stages that take most of its time."""
        longest = sorted(self.stages, key=lambda stage: -stage.seconds)[:3]
        named = ", ".join(f"{stage.stage} {format_duration(stage.seconds)}" for stage in longest)
        text = (
            f"The job takes about {format_duration(self.seconds)} here ({named}), "
            f"{format_size(self.peak_memory_bytes)} of memory and "
            f"{format_size(self.disk_bytes)} of disk."
        )
        others = ", ".join(
            f"{effort} {format_duration(seconds)}"
            for effort, seconds in self.effort_seconds.items()
        )
        return f"{text} By --effort: {others}." if others else text


class Plan(FrozenModel):
    """Every candidate for one model on one device, best first, then the rejected ones."""

    schema_version: Literal[1] = 1
    model: str
    architecture: str
    parameters: int
    source_bits_per_weight: float
    runtime: str = "llama.cpp"
    device: str
    device_title: str
    constraints: Constraints
    candidates: tuple[Candidate, ...]
    families: tuple[Family, ...]
    task_risk: Risk
    """What the task alone makes of the risk, whatever the format."""

    required_benchmarks: tuple[str, ...]
    notices: tuple[str, ...]
    job: JobCost | None
    """None where the chosen candidate needs no work, or nothing can be chosen."""

    placements: tuple[PlacedSpeed, ...] = ()
    """Where the device has a GPU: the ways to place the chosen candidate, the fastest first."""

    one_layer_more: LayerGain | None = None
    """What another layer on a card would bring the chosen candidate; None where there is none."""

    nearest: str | None
    """Where nothing fits: the constraint in the way, and the nearest that works."""

    @cached_property
    def chosen(self) -> Candidate | None:
        """The candidate to make: the first that no reason speaks against."""
        first = self.candidates[0] if self.candidates else None
        return first if first and not first.rejections else None
