"""Raw timings of a load as latencies and throughputs, and a real load on a tiny model."""

from __future__ import annotations

import io
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console, RenderableType

from edgecomp.common.errors import RuntimeRefused
from edgecomp.common.events import Event, StageProgress, ignore
from edgecomp.formats.exporting import find_exporter
from edgecomp.measure.energy import Counter, Counters
from edgecomp.measure.serving import (
    Loads,
    Reading,
    Serving,
    drift_percent,
    measure_serving,
    summarise_level,
    summarise_sustained,
    throughput_by_window,
)
from edgecomp.measure.thermal import ThermalReading, read_thermal
from edgecomp.models.reading import read_model
from edgecomp.processes.limits import Limits, limited
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.llama_cpp.client import LlamaCpp
from edgecomp.runtimes.process_memory import process_memory
from edgecomp.runtimes.serving_load import (
    DrawnRequest,
    RawServing,
    ServedRequest,
    ServingLoad,
    draw_requests,
)
from edgecomp.terminal.result_tables import serving_table

SETTINGS = RunSettings(context=128, threads=1, micro_batch=32)
LOAD = ServingLoad(
    prompt_median_tokens=24, output_median_tokens=8, longest_prompt_tokens=48,
    longest_output_tokens=12,
)  # fmt: skip
TEXT = "The bridge over the river was closed for the night, so we walked along the bank. " * 8


@pytest.fixture(scope="module")
def served_model(tiny_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("served") / "tiny.gguf"
    find_exporter("gguf").export(read_model(tiny_model("llama")), path, "F16", ignore_progress)
    return path


def ignore_progress(done: float, total: float) -> None:
    pass


def raw(requests: list[ServedRequest], seconds: float) -> RawServing:
    return RawServing(
        load_seconds=1.0,
        served_seconds=seconds,
        requests=tuple(requests),
        unfinished_token_seconds=(),
        cells=((1.0, 30), (1.0, 10), (2.0, 25), (2.0, 0)),
        peak_memory=process_memory(),
    )


TWO = [
    ServedRequest(
        prompt_tokens=10, arrived_seconds=0.0, admitted_seconds=0.5, tokenize_seconds=0.01,
        token_seconds=(1.0, 1.1, 1.3),
    ),
    ServedRequest(
        prompt_tokens=30, arrived_seconds=1.0, admitted_seconds=1.0, tokenize_seconds=0.01,
        token_seconds=(1.5,),
    ),
]  # fmt: skip


def reading(seconds: float, joules: float, frequency: float | None = None) -> Reading:
    return Reading(
        seconds=seconds,
        heat=ThermalReading(
            frequency_mhz=frequency, temperature_celsius=40 + seconds if frequency else None
        ),
        counters=Counters(
            counters={"package-0": Counter(joules=joules, range_joules=1e6)}, unreadable=()
        ),
    )


def test_r53_the_first_token_counts_from_arrival_and_gaps_from_token_to_token() -> None:
    level = summarise_level(raw(TWO, 2.0), 2, 64, "Poisson", [])
    assert level.first_token_seconds.p50 == pytest.approx(0.75)
    assert level.queue_seconds.p50 == pytest.approx(0.25)
    assert level.between_tokens_seconds is not None
    assert level.between_tokens_seconds.p50 == pytest.approx(0.15)
    assert level.between_tokens_seconds.count == 2
    assert level.output_tokens_per_second == pytest.approx(2.0)
    assert level.prompt_tokens_per_second == pytest.approx(20.0)
    assert level.kv_cells_peak == 30 and level.kv_cells == 64


def test_energy_is_a_share_of_the_tokens_written_between_the_readings() -> None:
    level = summarise_level(raw(TWO, 2.0), 2, 64, "Poisson", [reading(0, 10), reading(1, 16)])
    assert level.energy_joules == {"package-0": 6.0}
    assert level.joules_per_output_token == pytest.approx(3.0)
    assert summarise_level(raw(TWO, 2.0), 2, 64, "Poisson", []).joules_per_output_token is None


@given(st.lists(st.floats(0, 10), min_size=1, max_size=50), st.integers(1, 12))
def test_the_windows_throughputs_hold_every_token(moments: list[float], windows: int) -> None:
    rates = throughput_by_window(moments, 10.0, windows)
    assert sum(rates) * 10.0 / windows == pytest.approx(len(moments))


def test_a_steady_fall_is_drift_and_noise_is_not() -> None:
    falling, interval = drift_percent([100 - index for index in range(24)])
    assert falling == pytest.approx(100 * -23 / 88.5) and interval.high < 0
    noisy = [100.0, 101.0, 99.0, 100.5, 99.5, 100.0] * 4
    _, interval = drift_percent(noisy)
    assert not interval.excludes(0.0)


def test_one_disturbed_window_does_not_move_the_drift() -> None:
    steady = [100.0 + 0.1 * (index % 3) for index in range(24)]
    steady[20] = 5.0
    drift, _ = drift_percent(steady)
    assert abs(drift) < 1.0


def test_a_sustained_load_reports_clock_and_heat_where_they_can_be_read() -> None:
    moments = tuple(index / 10 for index in range(1, 240))
    long = ServedRequest(
        prompt_tokens=10, arrived_seconds=0, admitted_seconds=0, tokenize_seconds=0,
        token_seconds=moments,
    )  # fmt: skip
    served = raw([long], 24.0)
    readings = [reading(second, second, 3000 - 50 * second) for second in range(25)]
    level = summarise_level(served, 1, 64, "closed loop", readings)
    found = summarise_sustained(served, level, readings)
    assert found.drift == "not resolved" and len(found.windows) == 24
    assert found.highest_temperature_celsius == 64
    assert found.frequency_change_percent == pytest.approx(100 * (1800 / 2950 - 1))
    unread = [reading(second, second) for second in range(25)]
    blind = summarise_sustained(served, level, unread)
    assert blind.frequency_change_percent is None and blind.highest_temperature_celsius is None


def test_this_machines_heat_is_a_figure_or_nothing() -> None:
    found = read_thermal()
    assert found.temperature_celsius is None or -50 < found.temperature_celsius < 150
    assert found.frequency_mhz is None or found.frequency_mhz > 0


@pytest.fixture(scope="module")
def serving(served_model: Path) -> tuple[Serving, list[Event]]:
    events: list[Event] = []
    found = measure_serving(
        served_model,
        SETTINGS,
        TEXT,
        Loads(load=LOAD, concurrencies=[1, 3], sustained_seconds=1.5),
        events.append,
    )
    return found, events


def test_r47_r54_a_load_is_served_by_the_real_runtime_at_each_concurrency(
    serving: tuple[Serving, list[Event]],
) -> None:
    found, events = serving
    assert [row.concurrency for row in found.levels] == [1, 3]
    asked = [len(draw_requests(LOAD, 16)), len(draw_requests(LOAD, 18))]
    assert [row.requests for row in found.levels] == asked
    for row in found.levels:
        assert row.first_token_seconds.p50 > 0 and row.tokenize_seconds.p50 > 0
        assert 0 < row.kv_cells_peak <= row.kv_cells == 128
        assert row.peak_memory_bytes > 10**7
    assert any(isinstance(event, StageProgress) for event in events)
    assert Serving.model_validate_json(found.model_dump_json()) == found


def test_a_sustained_load_goes_round_until_its_time_is_over(
    serving: tuple[Serving, list[Event]],
) -> None:
    sustained = serving[0].sustained
    assert sustained is not None and sustained.level.concurrency == 3
    assert sustained.level.served_seconds >= 1.5
    assert sum(row.output_tokens_per_second for row in sustained.windows) > 0
    for reason in serving[0].unreadable:
        assert ":" in reason


def test_a_time_too_short_for_any_request_is_an_explained_error(served_model: Path) -> None:
    with pytest.raises(RuntimeRefused, match="--minutes"):
        measure_serving(
            served_model,
            SETTINGS,
            TEXT,
            Loads(load=LOAD, concurrencies=[1], sustained_seconds=1e-6),
            ignore,
        )


def test_every_request_writes_what_it_asked_for_and_the_cache_is_never_exceeded(
    served_model: Path,
) -> None:
    """Eight requests of which two fit the cache at once: the others wait for its cells."""
    requests = [
        DrawnRequest(prompt_tokens=20 + index, output_tokens=1 + 3 * index, arrival_seconds=0.0)
        for index in range(8)
    ]
    settings = SETTINGS.model_copy(update={"context": 96, "sequences": 4, "outputs": 4})
    found = LlamaCpp().serve(served_model, settings, TEXT, requests, seconds=None)
    written = sorted(len(row.token_seconds) for row in found.requests)
    assert written == [request.output_tokens for request in requests]
    assert max(cells for _, cells in found.cells) <= 96
    assert max(row.admitted_seconds - row.arrived_seconds for row in found.requests) > 0
    for row in found.requests:
        assert row.arrived_seconds <= row.admitted_seconds < row.token_seconds[0]
        assert all(first < second for first, second in pairwise(row.token_seconds))


def test_a_model_that_does_not_fit_is_shown_with_the_moment_it_died(served_model: Path) -> None:
    """A KV cache of 268 MB under a cap 64 MB above what the worker takes without a model."""
    cap = LlamaCpp().measure_idle().peak_bytes + 64 * 10**6
    settings = SETTINGS.model_copy(update={"context": 2**20})
    with limited(Limits(memory_bytes=cap, cpus=1)):
        found = measure_serving(
            served_model,
            settings,
            TEXT,
            Loads(load=LOAD, concurrencies=[1, 2], sustained_seconds=None),
            ignore,
        )
    assert found.levels == () and found.died is not None
    assert found.died.stage == "loading" and found.died.seconds > 0
    assert found.died.limit_bytes == cap <= found.died.peak_bytes
    assert found.limits is not None and found.limits.memory_kept_by == found.died.kept_by
    shown = shown_text(serving_table(found))
    assert "does not fit into" in shown and "killed while loading" in shown
    assert Serving.model_validate_json(found.model_dump_json()) == found


def test_a_model_that_fits_is_measured_under_its_cap(served_model: Path) -> None:
    with limited(Limits(memory_bytes=4 * 10**9, cpus=1)):
        found = measure_serving(
            served_model,
            SETTINGS,
            TEXT,
            Loads(load=LOAD, concurrencies=[1], sustained_seconds=None),
            ignore,
        )
    assert found.died is None and len(found.levels) == 1
    assert "1 of the processors" in shown_text(serving_table(found))


def shown_text(table: RenderableType) -> str:
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(table)
    return console.export_text()
