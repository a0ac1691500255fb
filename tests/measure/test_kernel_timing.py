"""Rates from timings: those that were put in come out, and the timed models run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecomp.devices.detect import detect_device
from edgecomp.devices.kernel_rates import KernelRates
from edgecomp.devices.measured_runs import RANDOM_MODEL
from edgecomp.measure.calibrate import TIMED
from edgecomp.measure.calibrate_onnx import TIMED as TIMED_ONNX
from edgecomp.measure.kernel_timing import ATTENTIVE, DEEP, SHALLOW, Asked, decode_times
from edgecomp.measure.runtime_rates import RuntimeRates, Timed, time_runtime
from edgecomp.measure.synthetic_model import SyntheticShape, write_synthetic
from edgecomp.measure.whole_models import DEPTHS, whole_model_runs
from edgecomp.models.attention_pairs import prompt_pairs
from edgecomp.models.gguf.header import read_gguf_header
from edgecomp.models.tensor_types import TENSOR_TYPES
from edgecomp.planning.speed import CACHE_TIMES, SHARED_DEPTH
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.llama_cpp import runtime
from edgecomp.runtimes.protocol import TimedRun


class Machine(NamedTuple):
    """One whose every cost is known."""

    byte: float
    product: float
    layer: float
    token: float
    decode_row: float
    batch_row: float
    decode_element: float
    prefill_element: float
    shared: float
    every_logit: bool = False

    def __call__(self, asked: Asked) -> list[list[TimedRun]]:
        machine = self
        if asked.kv_type in CACHE_TIMES:
            times = CACHE_TIMES[asked.kv_type]
            machine = self._replace(
                decode_element=times.decode * self.decode_element,
                prefill_element=times.prefill * self.prefill_element,
                shared=times.decode * self.shared,
            )
        return [
            [machine.run(asked.shape, asked.kinds[0], depth) for _ in range(asked.repeats)]
            for depth in asked.depths
        ]

    def run(self, shape: SyntheticShape, kind: str, depth: int) -> TimedRun:
        elements = shape.layers * shape.attention_elements
        head = shape.vocabulary * shape.width
        token = self.token + shape.layers * self.layer + shape.decode_rows * self.decode_row
        token += TENSOR_TYPES[kind].size_bytes(shape.decode_weights) * self.byte
        token += elements * depth * self.decode_element
        token += elements * self.shared if depth >= SHARED_DEPTH else 0.0
        read = shape.batch_weights(every_logit=self.every_logit) * self.product
        read += shape.batch_rows(every_logit=self.every_logit) * self.batch_row
        if self.every_logit:
            read += head * self.product + shape.vocabulary * self.batch_row
        else:
            read += (head * self.byte + shape.vocabulary * self.decode_row) / depth
        prompt = depth * read + elements * prompt_pairs(depth) * self.prefill_element
        return TimedRun(
            tokenize_seconds=0.0,
            prefill_seconds=prompt,
            token_seconds=(token, token, 2 * token, token),
        )


machines = st.builds(
    Machine,
    byte=st.floats(1e-11, 1e-9),
    product=st.floats(2e-12, 1e-10),
    layer=st.floats(1e-6, 1e-4),
    token=st.floats(1e-5, 1e-3),
    decode_row=st.sampled_from((0.0, 2e-9, 1e-8)),
    batch_row=st.sampled_from((0.0, 1e-9, 4e-9)),
    decode_element=st.floats(2e-11, 1e-9),
    prefill_element=st.floats(1e-11, 1e-10),
    shared=st.sampled_from((0.0, 1e-8)),
    every_logit=st.booleans(),
)


def hindered(run: TimedRun) -> TimedRun:
    return run.model_copy(
        update={
            "prefill_seconds": 2 * run.prefill_seconds,
            "token_seconds": tuple(3 * seconds for seconds in run.token_seconds),
        }
    )


def told(machine: Machine) -> tuple[Timed, RuntimeRates]:
    timed = TIMED_ONNX if machine.every_logit else TIMED
    steps: list[float] = []
    rounds: Counter[tuple[object, ...]] = Counter()

    def time_model(asked: Asked) -> list[list[TimedRun]]:
        found = machine(asked)
        key = (asked.shape, *asked.kinds, *asked.depths)
        rounds[key] += 1
        if tuple(asked.depths) == (SHALLOW, timed.batch_tokens) and rounds[key] == 2:
            # One round of three meets other work.
            found = [[hindered(run) for run in runs] for runs in found]
        return found

    found = time_runtime(timed, time_model, lambda done, total: steps.append(done / total))
    assert steps[-1] == 1.0 and steps == sorted(steps)
    return timed, found


@given(machines)
def test_a_machines_costs_come_out_of_what_its_models_take(machine: Machine) -> None:
    timed, found = told(machine)
    assert found.attention.decode == pytest.approx(1 / machine.decode_element, rel=0.02)
    assert found.attention.prefill == pytest.approx(1 / machine.prefill_element, rel=0.1)
    assert found.attention.shared_seconds == pytest.approx(machine.shared, abs=1e-10)
    assert set(found.kernels) == set(timed.types)
    assert set(found.cache_times) == set(timed.cache_types)
    for kind, times in found.cache_times.items():
        assert times.decode == pytest.approx(CACHE_TIMES[kind].decode, rel=0.05)
        assert times.prefill == pytest.approx(CACHE_TIMES[kind].prefill, rel=0.05)
    assert found.fixed.layer == pytest.approx(machine.layer, rel=0.1, abs=5e-7)
    assert found.fixed.decode_row == pytest.approx(machine.decode_row, rel=0.1, abs=2e-10)
    for rate in found.kernels.values():
        assert rate.decode_bytes_per_second == pytest.approx(1 / machine.byte, rel=0.1)
        assert rate.prefill_products_per_second == pytest.approx(1 / machine.product, rel=0.1)


def test_whole_models_are_predicted_as_a_machine_of_known_costs_runs_them() -> None:
    for every_logit in (False, True):
        machine = Machine(
            3e-11, 9e-12, 1e-5, 5e-5, 5e-9, 2e-9, 1e-10, 4e-11, 8e-9, every_logit=every_logit
        )
        timed, found = told(machine)
        rates = KernelRates(
            **found.fields, processor="x", threads=1, runtime="x", measured_at="2026-11-28",
            worker_bytes=1, memory_bytes_per_second=1e10, float_operations_per_second=1e11,
        )  # fmt: skip
        # The machine knows one type a model: the head's and the first matrix's.
        alike = [
            row.model_copy(
                update={"model": row.model.model_copy(update={"kinds": row.model.kinds[:1]})}
            )
            for row in found.whole
        ]
        runs = whole_model_runs(
            alike, rates, detect_device(), timed.micro_batch, every_logit=every_logit
        )
        assert {(run.model, run.depth) for run in runs} == {(RANDOM_MODEL, d) for d in DEPTHS}
        for share in (share for run in runs for share in (run.decode, run.prefill)):
            predicted = share.weights_seconds + share.attention_seconds
            assert predicted == pytest.approx(share.measured_seconds, rel=0.05)


def test_most_of_a_long_prompt_is_attention_where_heads_are_wider_than_the_model(
    tmp_path: Path,
) -> None:
    path = tmp_path / "attentive.gguf"
    one = ATTENTIVE.model_copy(update={"layers": 1})
    write_synthetic(path, one)
    matrices = [
        tensor.shape
        for tensor in read_gguf_header(path).tensors
        if tensor.name.startswith("blk.") and len(tensor.shape) == 2
    ]
    weights = sum(rows * columns for rows, columns in matrices)
    assert weights == one.layer_weights
    assert sum(rows for rows, _ in matrices) == one.layer_rows
    assert one.attention_elements * prompt_pairs(DEEP) > 1.5 * weights * DEEP
    settings = RunSettings(context=DEEP, threads=1)
    ((first, *_),) = decode_times(runtime, path, settings, Asked(one, ["F16"], [SHALLOW], 1))
    assert first.prefill_seconds > 0
