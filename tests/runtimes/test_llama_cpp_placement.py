"""What llama.cpp is told of a placement, and what its log tells of it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

import llama_cpp
import numpy as np
import pytest

from edgecomp.common.errors import RuntimeRefused
from edgecomp.exporters.gguf import export
from edgecomp.models.reading import read_model
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.llama_cpp import runtime
from edgecomp.runtimes.llama_cpp.client import reported_buffers, reported_devices
from edgecomp.runtimes.llama_cpp.model_parameters import BufferOverride, ModelParameters
from edgecomp.runtimes.llama_cpp.session import Session
from edgecomp.runtimes.protocol import Timing

PLAIN = RunSettings(context=256, outputs=16, threads=1)
PLACED = PLAIN.model_copy(
    update={"gpu_layers": 3, "tensor_split": (2, 1), "cpu_expert_layers": 2, "kv_on_gpu": False}
)
LOG = """
load_tensors:        CUDA0 model buffer size =   100.00 MiB
load_tensors:        CUDA1 model buffer size =    50.00 MiB
load_tensors:   CPU_Mapped model buffer size =    20.00 MiB
load_tensors:   CPU_REPACK model buffer size =     5.00 MiB
llama_context:  CUDA_Host  output buffer size =     0.50 MiB
llama_kv_cache:      CUDA0 KV buffer size =    10.00 MiB
llama_kv_cache:        CPU KV buffer size =     2.00 MiB
sched_reserve:      CUDA0 compute buffer size =    30.00 MiB
sched_reserve:  CUDA_Host compute buffer size =     4.00 MiB
"""
MIB = 2**20
MAPS = Path("/proc/self/maps")


@pytest.fixture(scope="module")
def mixture(tiny_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny mixture of experts as GGUF."""
    path = tmp_path_factory.mktemp("mixture") / "model.gguf"
    return export(read_model(tiny_model("qwen3moe")), path, "F32").path


def logits(path: Path, settings: RunSettings) -> np.ndarray:
    with Session(str(path), settings) as session:
        return session.prefill([5, 9, 2, 7]).copy()


def test_a_session_with_every_override_computes_the_same_logits(mixture: Path) -> None:
    """This build may have no card: then all of it lies with the CPU, by another way."""
    np.testing.assert_allclose(logits(mixture, PLACED), logits(mixture, PLAIN), atol=1e-5)


def test_llama_cpp_gets_each_setting_in_its_own_words() -> None:
    parameters = ModelParameters(PLACED, allocate=True)
    values = parameters.values
    assert values.n_gpu_layers == 3 and values.split_mode == llama_cpp.LLAMA_SPLIT_MODE_LAYER
    assert [values.tensor_split[at] for at in range(3)] == [2.0, 1.0, 0.0]
    rows = ctypes.cast(values.tensor_buft_overrides, ctypes.POINTER(BufferOverride))
    assert [rows[at].pattern for at in range(3)] == [
        rb"blk\.0\.ffn_(up|down|gate|gate_up)_(ch|)exps",
        rb"blk\.1\.ffn_(up|down|gate|gate_up)_(ch|)exps",
        None,
    ]
    assert rows[0].buft and rows[0].buft == rows[1].buft


@pytest.mark.skipif(not MAPS.is_file(), reason="the system lists no loaded libraries")
def test_the_cpus_memory_is_that_of_the_loaded_library() -> None:
    """A wheel holds the library several times; a copy's address would be another memory."""
    ModelParameters(PLACED, allocate=True)
    lines = MAPS.read_text().splitlines()
    assert len({line.split()[-1] for line in lines if "ggml-base" in line}) == 1


@pytest.mark.parametrize(
    ("mapped", "locked", "mode"),
    [(False, False, 0), (True, False, 1), (False, True, 2), (True, True, 3)],
)
def test_mapping_and_locking_are_one_mode(mapped: bool, locked: bool, mode: int) -> None:
    settings = PLAIN.model_copy(update={"memory_map": mapped, "memory_lock": locked})
    assert ModelParameters(settings, allocate=True).values.load_mode == mode


def test_more_cards_than_the_build_knows_are_refused(mixture: Path) -> None:
    many = PLAIN.model_copy(update={"tensor_split": (1,) * 99, "gpu_layers": 99})
    with pytest.raises(RuntimeRefused, match="99 cards"):
        runtime.buffers(mixture, many)


def test_buffers_are_told_apart_by_the_memory_they_lie_in() -> None:
    devices = reported_devices(LOG)
    assert list(devices) == ["CUDA0", "CUDA1", "host"]
    assert devices["CUDA0"] == 140 * MIB and devices["CUDA1"] == 50 * MIB
    assert devices["host"] == 31.5 * MIB
    assert sum(devices.values()) == sum(reported_buffers(LOG).values())


def test_cards_keep_the_order_of_their_numbers() -> None:
    log = "".join(f"x: CUDA{n} model buffer size = 1.00 MiB\n" for n in (10, 2, 0))
    assert list(reported_devices(log)) == ["CUDA0", "CUDA2", "CUDA10"]


def test_a_measurement_tells_where_the_buffers_lay(tiny_gguf: Path, demo_gguf: Path) -> None:
    raw = runtime.measure(
        demo_gguf,
        RunSettings(context=128, threads=1),
        "One two three. " * 20,
        Timing(depths=(32,), decode_tokens=1, repeats=1),
    )
    assert raw.device_bytes["host"] == sum(raw.buffer_bytes.values())
