"""Raw timings as speeds with their spread, and beside what was predicted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from edgecomp.common.frozen_model import FrozenModel
from edgecomp.evaluate.statistics import Spread, spread
from edgecomp.measure.machine import MachineState
from edgecomp.planning.card_fill import DRIVER_BYTES
from edgecomp.planning.plan import Candidate
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.protocol import DepthRuns, RawMeasurement


class DepthLatency(FrozenModel):
    """Speeds with `depth` tokens in the context; spreads over repeats (decode: over tokens)."""

    depth: int
    first_token_seconds: Spread
    """Tokenization, prefill and the first token's choice."""

    prefill_tokens_per_second: Spread
    decode_tokens_per_second: Spread
    """Tokens over their seconds, once a repeat."""

    token_seconds: Spread
    """Time of each decoded token by itself."""


class Measurement(FrozenModel):
    """One artifact measured in its runtime, in a fresh process."""

    schema_version: Literal[1] = 1
    runtime: str
    settings: RunSettings
    machine: MachineState
    load_seconds: float
    peak_memory_bytes: int
    peak_anonymous_bytes: int
    peak_file_backed_bytes: int
    started_memory_bytes: int
    buffer_bytes: dict[str, int]
    device_bytes: dict[str, int] = Field(default={})
    memory_timeline: tuple[tuple[float, int, int], ...]
    depths: tuple[DepthLatency, ...]

    def at(self, depth: int) -> DepthLatency:
        """The figures at the measured depth nearest to `depth`."""
        return min(self.depths, key=lambda row: abs(row.depth - depth))


class Prediction(FrozenModel):
    """One predicted figure beside its measurement."""

    quantity: str
    unit: str
    predicted: float
    measured: float
    basis: str

    @property
    def error_percent(self) -> float:
        """(predicted - measured) / measured."""
        return 100 * (self.predicted / self.measured - 1)


def summarise_measurement(
    raw: RawMeasurement, settings: RunSettings, runtime: str, machine: MachineState
) -> Measurement:
    """Medians and percentiles of a raw measurement."""
    highest = max(raw.memory_timeline, key=lambda sample: sample[1] + sample[2])
    return Measurement(
        runtime=runtime,
        settings=settings,
        machine=machine,
        load_seconds=raw.load_seconds,
        peak_memory_bytes=raw.peak_memory.peak_bytes,
        peak_anonymous_bytes=highest[1],
        peak_file_backed_bytes=highest[2],
        started_memory_bytes=raw.started_memory.peak_bytes,
        buffer_bytes=raw.buffer_bytes,
        device_bytes=raw.device_bytes,
        memory_timeline=raw.memory_timeline,
        depths=tuple(_latency(row) for row in raw.depths),
    )


def _latency(row: DepthRuns) -> DepthLatency:
    return DepthLatency(
        depth=row.depth,
        first_token_seconds=spread(
            [run.tokenize_seconds + run.prefill_seconds for run in row.runs]
        ),
        prefill_tokens_per_second=spread([row.depth / run.prefill_seconds for run in row.runs]),
        decode_tokens_per_second=spread(
            [len(run.token_seconds) / sum(run.token_seconds) for run in row.runs]
        ),
        token_seconds=spread([seconds for run in row.runs for seconds in run.token_seconds]),
    )


def compare_with_plan(candidate: Candidate, measured: Measurement) -> tuple[Prediction, ...]:
    """The plan's figures beside the measured ones."""
    row = measured.at(candidate.speed.prompt_tokens)
    speed, memory = candidate.speed, candidate.memory
    return (
        Prediction(
            quantity="peak memory",
            unit="bytes",
            # The projector is not loaded to measure.
            predicted=memory.total_bytes - memory.projector_bytes,
            measured=measured.peak_memory_bytes,
            basis=memory.basis,
        ),
        *_buffers(candidate, measured),
        Prediction(
            quantity=f"decode at depth {row.depth}",
            unit="tok/s",
            predicted=speed.decode_tokens_per_second,
            measured=row.decode_tokens_per_second.median,
            basis=speed.basis,
        ),
        Prediction(
            quantity=f"prefill of {row.depth} tokens",
            unit="tok/s",
            predicted=speed.prefill_tokens_per_second,
            measured=row.prefill_tokens_per_second.median,
            basis=speed.basis,
        ),
        Prediction(
            quantity=f"time to first token after {row.depth} tokens",
            unit="s",
            predicted=speed.first_token_seconds,
            measured=row.first_token_seconds.median,
            basis=speed.basis,
        ),
    )


def _buffers(candidate: Candidate, measured: Measurement) -> Iterator[Prediction]:
    """What the runtime placed in each memory, where it tells: what the process and the driver take
    beside is nothing of it. A card that the plan fills and the runtime lacks is left out."""
    pools = dict(candidate.pool_bytes)
    # Where the projector would lie; it is not loaded to measure.
    pools[next(iter(pools))] -= candidate.memory.projector_bytes
    *cards, (system, most) = pools.items()
    *found, host = measured.device_bytes.values() or (0,)
    pairs = [
        (name, size - DRIVER_BYTES, on) for (name, size), on in zip(cards, found, strict=False)
    ]
    # Where the CPU and the GPU share one memory, all buffers lie in it.
    placed = host if cards else host + sum(found)
    pairs.append((system, most - candidate.memory.runtime_bytes, placed))
    for name, predicted, placed in pairs:
        if placed:
            yield Prediction(
                quantity=f"buffers in {name}",
                unit="bytes",
                predicted=predicted,
                measured=placed,
                basis=candidate.memory.basis,
            )
