"""Latency, throughput and memory of an artifact under serving load (R47, R53, R54).

Each load runs in a fresh worker, with tokenization, KV cache and continuous batching as a server
has them. Clock, temperature and energy are read beside it, once a second.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from edgecomp.common.errors import RuntimeRefused
from edgecomp.common.events import Listener, StageFinished, StageProgress, StageStarted
from edgecomp.common.folders import path_bytes
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.evaluate.statistics import CONFIDENCE, Interval, Spread, spread
from edgecomp.measure.energy import Counters, joules_used, read_counters
from edgecomp.measure.machine import MachineState, machine_state
from edgecomp.measure.thermal import ThermalReading, read_thermal
from edgecomp.processes.limits import Death, EnforcedLimits, MemoryLimitReached, enforced_limits
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.llama_cpp.client import LlamaCpp
from edgecomp.runtimes.serving_load import Arrivals, RawServing, ServingLoad, draw_requests
from edgecomp.runtimes.worker_client import ServingRuntime

REQUESTS_A_SEQUENCE, FEWEST_REQUESTS = 6, 16
THROUGHPUT_WINDOWS = 8
"""Parts of a load whose throughputs show its noise."""

SUSTAINED_WINDOWS = 24
SUSTAINED_REQUESTS = 256
"""Different requests of a timed load; they come round again."""


class Percentiles(FrozenModel):
    """The middle and the tail of a latency, in its own unit."""

    p50: float
    p90: float
    p99: float
    count: int


class Window(FrozenModel):
    """A part of a load: what was written in it, and the machine at its end."""

    end_seconds: float
    output_tokens_per_second: float
    heat: ThermalReading


class ServingLevel(FrozenModel):
    """One load. Throughputs are of output tokens unless named; percentiles are over requests, of
    `between_tokens_seconds` over all gaps between two tokens of a request."""

    concurrency: int
    arrivals: Arrivals
    requests: int
    prompt_tokens: Spread
    output_tokens: Spread
    served_seconds: float
    queue_seconds: Percentiles
    """From arrival to a free sequence and room in the KV cache."""

    tokenize_seconds: Percentiles
    first_token_seconds: Percentiles
    """From arrival: queue, tokenization and prefill among other requests' tokens."""

    between_tokens_seconds: Percentiles | None
    """None where every request asked for a single token."""

    output_tokens_per_second: float
    output_tokens_per_second_spread: Spread
    """Over equal parts of the load; the first and last, where it fills and drains, included."""

    prompt_tokens_per_second: float
    requests_per_second: float
    kv_cells: int
    """Cells of the whole cache."""

    kv_cells_peak: int
    kv_growth: tuple[tuple[float, int], ...]
    """(seconds, cells in use)."""

    load_seconds: float
    peak_memory_bytes: int
    energy_joules: dict[str, float]
    """By counter, of the whole machine; empty where none could be read."""

    joules_per_output_token: float | None


class Sustained(FrozenModel):
    """A load kept up for minutes: whether speed falls as the machine grows hot."""

    level: ServingLevel
    windows: tuple[Window, ...]
    drift_percent: float
    """Change over the whole run in percent of the median throughput, by the Theil-Sen slope;
    negative: slower."""

    drift_interval: Interval
    frequency_change_percent: float | None
    highest_temperature_celsius: float | None

    @property
    def drift(self) -> Literal["slower", "faster", "not resolved"]:
        if not self.drift_interval.excludes(0.0):
            return "not resolved"
        return "slower" if self.drift_percent < 0 else "faster"


class Serving(FrozenModel):
    """All loads of one artifact."""

    schema_version: Literal[1] = 1
    artifact: str
    artifact_bytes: int
    runtime: str
    settings: RunSettings
    machine: MachineState
    load: ServingLoad
    levels: tuple[ServingLevel, ...]
    sustained: Sustained | None
    limits: EnforcedLimits | None = None
    died: Death | None = None
    """The memory limit was met: the loads before it are here, the one it was met in is not."""

    unreadable: tuple[str, ...]
    """What could not be read here, and why."""


class Loads(NamedTuple):
    """A load at each of some concurrencies; then the highest kept up, where seconds are given."""

    load: ServingLoad
    concurrencies: Sequence[int]
    sustained_seconds: float | None = None


def measure_serving(
    artifact: Path,
    settings: RunSettings,
    text: str,
    wanted: Loads,
    listen: Listener,
    runtime: ServingRuntime | None = None,
) -> Serving:
    """Serve `wanted` loads by `runtime`, llama.cpp unless another is named, each in a fresh worker.

    `settings.context` is the cache that all sequences share. Prompts are cut from `text`. Raises
    what the worker raises, but for a memory limit that it met, which is a finding.
    """
    runtime = runtime or LlamaCpp()
    server = _Server(runtime, artifact, settings, text, listen)
    machine = machine_state()
    load = wanted.load.within(settings.context)
    levels: list[ServingLevel] = []
    readings: list[Reading] = []
    sustained = died = None
    try:
        for concurrency in wanted.concurrencies:
            count = max(FEWEST_REQUESTS, REQUESTS_A_SEQUENCE * concurrency)
            title = f"Serving {count} requests, {concurrency} at a time"
            raw, readings = _serve(server, load, concurrency, count, None, title)
            levels.append(
                summarise_level(raw, concurrency, settings.context, load.arrivals, readings)
            )
        seconds = wanted.sustained_seconds
        if seconds:
            concurrency = max(wanted.concurrencies)
            title = f"Serving for {seconds / 60:.3g} minutes, {concurrency} at a time"
            kept_up = load.model_copy(update={"requests_per_second": None})
            raw, readings = _serve(server, kept_up, concurrency, SUSTAINED_REQUESTS, seconds, title)
            level = summarise_level(raw, concurrency, settings.context, "closed loop", readings)
            sustained = summarise_sustained(raw, level, readings)
    except MemoryLimitReached as error:
        died = error.death
    return Serving(
        artifact=artifact.name,
        artifact_bytes=path_bytes(artifact),
        runtime=f"{runtime.name} ({runtime.version()})",
        settings=settings,
        machine=machine,
        load=load,
        levels=tuple(levels),
        sustained=sustained,
        limits=enforced_limits(),
        died=died,
        unreadable=_unreadable(readings[-1]) if readings else (),
    )


class Reading(FrozenModel):
    """The machine at a moment of a load."""

    seconds: float
    """Since the load began, which a worker reports when its model is loaded."""

    heat: ThermalReading
    counters: Counters


class _Server(NamedTuple):
    """What serves, from which text prompts are cut, and who listens."""

    runtime: ServingRuntime
    artifact: Path
    settings: RunSettings
    text: str
    listen: Listener


def _serve(
    server: _Server,
    load: ServingLoad,
    concurrency: int,
    count: int,
    seconds: float | None,
    title: str,
) -> tuple[RawServing, list[Reading]]:
    """One load, and the readings of the machine from its beginning to its end."""
    runtime, artifact, settings, text, listen = server
    stage = f"serving-{concurrency}" + ("-sustained" if seconds else "")
    listen(StageStarted(stage=stage, title=title))
    began = time.perf_counter()
    readings: list[Reading] = []

    moments: list[float] = []

    def read(done: float, total: float) -> None:
        moments.append(time.perf_counter())
        seconds = moments[-1] - moments[0]
        readings.append(Reading(seconds=seconds, heat=read_thermal(), counters=read_counters()))
        listen(StageProgress(stage=stage, done=done, total=total))

    raw = runtime.serve(
        artifact,
        settings.model_copy(update={"sequences": concurrency, "outputs": concurrency}),
        text,
        draw_requests(load, count),
        seconds=seconds,
        progress=read,
    )
    if not raw.requests:
        raise RuntimeRefused(
            f"No request was finished in {raw.served_seconds:.3g} s. Give more time (--minutes)."
        )
    listen(StageFinished(stage=stage, cached=False, seconds=time.perf_counter() - began))
    return raw, readings


def percentiles(values: ArrayLike) -> Percentiles:
    """The percentiles of at least one value."""
    p50, p90, p99 = np.percentile(np.asarray(values, dtype=np.float64), [50, 90, 99])
    return Percentiles(p50=float(p50), p90=float(p90), p99=float(p99), count=int(np.size(values)))


def summarise_level(
    raw: RawServing,
    concurrency: int,
    kv_cells: int,
    arrivals: Arrivals,
    readings: Sequence[Reading],
) -> ServingLevel:
    """The percentiles and throughputs of one raw load, of which at least one request finished."""
    requests = raw.requests
    gaps = [gap for row in requests for gap in np.diff(row.token_seconds)]
    written = _written(raw)
    joules = joules_used([reading.counters for reading in readings])
    return ServingLevel(
        concurrency=concurrency,
        arrivals=arrivals,
        requests=len(requests),
        prompt_tokens=spread([row.prompt_tokens for row in requests]),
        output_tokens=spread([len(row.token_seconds) for row in requests]),
        served_seconds=raw.served_seconds,
        queue_seconds=percentiles([row.admitted_seconds - row.arrived_seconds for row in requests]),
        tokenize_seconds=percentiles([row.tokenize_seconds for row in requests]),
        first_token_seconds=percentiles(
            [row.token_seconds[0] - row.arrived_seconds for row in requests]
        ),
        between_tokens_seconds=percentiles(gaps) if gaps else None,
        output_tokens_per_second=len(written) / raw.served_seconds,
        output_tokens_per_second_spread=spread(
            throughput_by_window(written, raw.served_seconds, THROUGHPUT_WINDOWS)
        ),
        prompt_tokens_per_second=sum(row.prompt_tokens for row in requests) / raw.served_seconds,
        requests_per_second=len(requests) / raw.served_seconds,
        kv_cells=kv_cells,
        kv_cells_peak=max(cells for _, cells in raw.cells),
        kv_growth=raw.cells,
        load_seconds=raw.load_seconds,
        peak_memory_bytes=raw.peak_memory.peak_bytes,
        energy_joules=joules,
        joules_per_output_token=_joules_per_token(joules, raw, readings),
    )


def throughput_by_window(moments: ArrayLike, seconds: float, windows: int) -> list[float]:
    """Tokens a second in each of `windows` equal parts of a load of `seconds`."""
    counts, _ = np.histogram(np.asarray(moments), bins=windows, range=(0.0, seconds))
    return [float(count) * windows / seconds for count in counts]


def summarise_sustained(
    raw: RawServing, level: ServingLevel, readings: Sequence[Reading]
) -> Sustained:
    """Throughput over time, its drift, and the clock and heat beside it."""
    rates = throughput_by_window(_written(raw), raw.served_seconds, SUSTAINED_WINDOWS)
    drift, interval = drift_percent(rates)
    width = raw.served_seconds / SUSTAINED_WINDOWS
    ends = [width * (index + 1) for index in range(SUSTAINED_WINDOWS)]
    heats = [_nearest(readings, end).heat for end in ends]
    clocks = [row.frequency_mhz for row in heats if row.frequency_mhz]
    degrees = [row.temperature_celsius for row in heats if row.temperature_celsius is not None]
    return Sustained(
        level=level,
        windows=tuple(
            Window(end_seconds=end, output_tokens_per_second=rate, heat=heat)
            for end, rate, heat in zip(ends, rates, heats, strict=True)
        ),
        drift_percent=drift,
        drift_interval=interval,
        frequency_change_percent=100 * (clocks[-1] / clocks[0] - 1) if clocks else None,
        highest_temperature_celsius=max(degrees, default=None),
    )


def drift_percent(rates: Sequence[float]) -> tuple[float, Interval]:
    """Change of a throughput from its first window to its last, in percent of its median.

    The Theil-Sen slope (Sen 1968): the median of the slopes between all pairs of windows, which a
    few disturbed windows do not move, and its 95 % interval.
    """
    from scipy.stats import theilslopes  # most of a second to import

    middle = float(np.median(rates))
    if middle == 0:
        return 0.0, Interval(low=0.0, high=0.0)
    slope, _, low, high = theilslopes(rates, alpha=CONFIDENCE)
    scale = 100 * (len(rates) - 1) / middle
    return float(slope) * scale, Interval(low=float(low) * scale, high=float(high) * scale)


def _nearest(readings: Sequence[Reading], seconds: float) -> Reading:
    return min(readings, key=lambda row: abs(row.seconds - seconds))


def _written(raw: RawServing) -> list[float]:
    finished = [moment for row in raw.requests for moment in row.token_seconds]
    return [*finished, *raw.unfinished_token_seconds]


def _joules_per_token(
    joules: dict[str, float], raw: RawServing, readings: Sequence[Reading]
) -> float | None:
    """Energy a token, over the time between the first and the last reading."""
    if not joules:
        return None
    covered = readings[-1].seconds - readings[0].seconds
    tokens = len(_written(raw)) * min(covered / raw.served_seconds, 1.0)
    return sum(joules.values()) / tokens if tokens else None


def _unreadable(reading: Reading) -> tuple[str, ...]:
    missing = list(reading.counters.unreadable)
    if reading.heat.frequency_mhz is None:
        missing.append("frequency: the system does not tell the processor's clock")
    if reading.heat.temperature_celsius is None:
        missing.append("temperature: the processor has no sensor that can be read here")
    return tuple(missing)
