"""Plans with cards, carried out: what lies where, and that the text is the processor's.

Two devices are offered over the loopback address by llama.cpp's RPC backend; to llama.cpp they are
cards. Run by `make test-offload`.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rpc_library import rpc_file

from edgecomp.devices.profile import DeviceProfile
from edgecomp.exporters.gguf import export
from edgecomp.formats.layered_weights import layered_weights
from edgecomp.measure.synthetic_model import SyntheticShape, write_synthetic
from edgecomp.models.reading import read_model
from edgecomp.models.spec import ModelSpec
from edgecomp.planning.card_fill import DRIVER_BYTES, MemoryDemand, beside_layers_bytes, footprint
from edgecomp.planning.offload import offload
from edgecomp.planning.placement import Placement
from edgecomp.processes.child import Child
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.llama_cpp.client import BUFFER, HOST, LlamaCpp, reported_devices

pytestmark = pytest.mark.offload

HERE = Path(__file__).parent
CARDS = 2
START_SECONDS = 60
HUNDREDTH_OF_MIB = 2**20 // 100
"""To which llama.cpp prints the size of a buffer."""

PROMPT = "The capital of France is"
WRITTEN = 24


class RpcLlamaCpp(LlamaCpp):
    """llama.cpp on a machine with the offered devices as its cards."""

    worker = "rpc_worker"


@pytest.fixture(scope="module")
def cards() -> Iterator[list[str]]:
    """The addresses of two offered devices, each the processor in a process of its own."""
    if rpc_file() is None:
        pytest.skip("this build of llama.cpp has no RPC backend: run `make install`")
    environment = dict(os.environ)
    path = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    ports = [_free_port() for _ in range(CARDS)]
    servers = [
        subprocess.Popen(
            [sys.executable, str(HERE / "rpc_server.py"), str(port)],
            env={**os.environ, "PYTHONPATH": path},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for port in ports
    ]
    try:
        for port, server in zip(ports, servers, strict=True):
            _wait_for(port, server)
        addresses = [f"127.0.0.1:{port}" for port in ports]
        os.environ |= {"PYTHONPATH": path, "OFFLOAD_SERVERS": ",".join(addresses)}
        yield addresses
    finally:
        os.environ.clear()
        os.environ.update(environment)
        for server in servers:
            server.kill()
            server.wait()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and server.poll() is None:
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError(f"the device at port {port} is not offered")


@pytest.fixture(scope="module")
def mixture(tiny_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    """A tiny mixture of experts."""
    path = tmp_path_factory.mktemp("mixture") / "model.gguf"
    return read_model(export(read_model(tiny_model("qwen3moe")), path, "F32").path)


@pytest.fixture(scope="module")
def demo() -> ModelSpec:
    return read_model("demo")


def demand_of(model: ModelSpec, settings: RunSettings) -> MemoryDemand:
    types = {tensor.name: tensor.dtype for tensor in model.tensors}
    return MemoryDemand(layered_weights(model, types), footprint(model, settings))


def planned(
    model: ModelSpec, device: DeviceProfile, settings: RunSettings, split: tuple[int, ...],
    experts: int = 0, kv_on_gpu: bool = True,
) -> RunSettings:  # fmt: skip
    """The settings of a plan that gives each card so many of the last layers."""
    placement = Placement(
        gpus=tuple(gpu.name for gpu, count in zip(device.gpus, split, strict=True) if count),
        gpu_layers=sum(split), tensor_split=split, cpu_expert_layers=experts, kv_on_gpu=kv_on_gpu,
    )  # fmt: skip
    return offload(demand_of(model, settings), device, placement).settings


def held(model: ModelSpec, settings: RunSettings) -> tuple[dict[str, dict[str, int]], str]:
    """Bytes by memory and kind as llama.cpp reports them, and its log."""
    with Child("rpc_worker") as child:
        child.call("buffer_sizes", path=str(model.path), settings=settings.model_dump(),
                   allocate=True)  # fmt: skip
        log = child.log_text()
    found: dict[str, dict[str, int]] = {}
    for buffer, kind, mebibytes in BUFFER.findall(log):
        name = next(iter(reported_devices(f"{buffer} model buffer size = 1.00 MiB")))
        kinds = found.setdefault(name, {})
        kinds[kind] = kinds.get(kind, 0) + round(float(mebibytes) * 2**20)
    return found, log


PLACEMENTS = {
    "12 of 30 layers on one card": ((12, 0), {}, {}),
    "one layer of 30 and the head": ((0, 2), {}, {}),
    "all layers over two cards": ((16, 15), {}, {}),
    "all layers on one card of two": ((31, 0), {}, {}),
    "a part over two cards": ((7, 5), {}, {}),
    "a part, the cache with the CPU": ((7, 5), {"kv_on_gpu": False}, {}),
    "all, the cache with the CPU": ((16, 15), {"kv_on_gpu": False}, {}),
    "a part, an 8-bit cache": ((7, 5), {}, {"kv_type": "Q8_0"}),
    "all, without flash attention": ((16, 15), {}, {"flash_attention": False}),
}


@pytest.mark.demo
@pytest.mark.parametrize("name", PLACEMENTS)
def test_weights_and_cache_lie_where_the_plan_puts_them(
    cards: list[str], two_cards: DeviceProfile, demo: ModelSpec, name: str
) -> None:
    split, how, other = PLACEMENTS[name]
    settings = RunSettings(context=1024, threads=1, **other)
    agree(demo, planned(demo, two_cards, settings, split, **how), cards)


@pytest.mark.parametrize("split", [(3, 0), (2, 1), (1, 1)])
@pytest.mark.parametrize("experts", [1, 2])
def test_experts_stay_with_the_cpu_where_the_plan_says_so(
    cards: list[str], two_cards: DeviceProfile, mixture: ModelSpec, split: tuple[int, int],
    experts: int,
) -> None:  # fmt: skip
    settings = RunSettings(context=256, threads=1)
    agree(mixture, planned(mixture, two_cards, settings, split, experts), cards)


def agree(model: ModelSpec, settings: RunSettings, cards: list[str]) -> None:
    """Weights and cache of each memory are the predicted ones, to what llama.cpp prints of them."""
    demand = demand_of(model, settings)
    found, log = held(model, settings)
    at = demand.places - settings.gpu_layers
    rest = {"model": demand.weights.stored_bytes, "KV": demand.memory.kv_cache_bytes}
    if demand.footprint.tied:
        rest["model"] += demand.head_bytes
    for address, count in zip(cards, settings.tensor_split, strict=True):
        place = (at, at + count, settings.cpu_expert_layers)
        weights = demand.layer_bytes(*place, kv_on_gpu=False)
        kept = {
            "model": weights,
            "KV": demand.layer_bytes(*place, kv_on_gpu=settings.kv_on_gpu) - weights,
        }
        at += count
        for kind, predicted in kept.items():
            reported = found.get(f"RPC0[{address}]", {}).get(kind, 0)
            assert reported == pytest.approx(predicted, abs=HUNDREDTH_OF_MIB), (address, kind, log)
            rest[kind] -= predicted
    for kind, predicted in rest.items():
        reported = found[HOST].get(kind, 0)
        assert reported == pytest.approx(predicted, abs=HUNDREDTH_OF_MIB), (HOST, kind, log)


@pytest.mark.demo
@pytest.mark.parametrize("context", [512, 2048])
@pytest.mark.parametrize("split", [(16, 15), (31, 0), (12, 0), (7, 5), (4, 20)])
@pytest.mark.parametrize("flash", [True, False])
def test_the_cards_compute_buffers_are_predicted_within_two_percent(
    cards: list[str], two_cards: DeviceProfile, demo: ModelSpec, split: tuple[int, int],
    context: int, flash: bool,
) -> None:  # fmt: skip
    """Of a whole model with the copies by which cards take turns, also where only one of them
    holds layers."""
    run = RunSettings(context=context, threads=1, flash_attention=flash)
    computes_as_planned(demo, planned(demo, two_cards, run, split), cards)


SHAPES = {
    "narrow queries": SyntheticShape(
        layers=6, width=512, feed_forward=2048, heads=4, kv_heads=1, vocabulary=512, head_size=64
    ),
    "wide queries": SyntheticShape(
        layers=6, width=512, feed_forward=2048, heads=16, kv_heads=4, vocabulary=512, head_size=64
    ),
    "short heads": SyntheticShape(
        layers=6, width=512, feed_forward=1536, heads=8, kv_heads=2, vocabulary=512, head_size=32
    ),
    "as many key heads": SyntheticShape(
        layers=6, width=1024, feed_forward=2816, heads=16, kv_heads=16, vocabulary=512
    ),
}


@pytest.mark.parametrize("other", [{}, {"kv_type": "Q8_0"}, {"flash_attention": False}])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_part_of_any_shape_computes_as_planned(
    cards: list[str], two_cards: DeviceProfile, tmp_path: Path, shape: str, other: dict[str, object]
) -> None:
    path = tmp_path / "model.gguf"
    write_synthetic(path, SHAPES[shape])
    model = read_model(path)
    run = RunSettings(context=1024, threads=1, **other)
    computes_as_planned(model, planned(model, two_cards, run, (4, 0)), cards)


def computes_as_planned(model: ModelSpec, settings: RunSettings, cards: list[str]) -> None:
    """Each card's compute buffer is the planned one. A device over the network borrows no matrices
    of the CPU's, for which a card is given room, and has no driver."""
    demand = demand_of(model, settings)
    found, log = held(model, settings)
    beside = beside_layers_bytes(
        demand,
        settings.gpu_layers,
        0,
        kv_on_gpu=settings.kv_on_gpu,
        several=len(settings.tensor_split) > 1,
    )
    predicted = beside - DRIVER_BYTES - demand.footprint.memory.output_bytes
    if settings.gpu_layers < demand.places:
        predicted -= demand.weights.largest_bytes
    for address, count in zip(cards, settings.tensor_split, strict=True):
        if count:
            reported = found[f"RPC0[{address}]"]["compute"]
            assert reported == pytest.approx(predicted, rel=0.02), log


@pytest.mark.demo
@pytest.mark.parametrize("name", PLACEMENTS)
def test_no_compute_buffer_is_larger_than_planned(
    cards: list[str], two_cards: DeviceProfile, demo: ModelSpec, name: str
) -> None:
    """What is shared out needs less than the whole: a card or the host has a part of the graph."""
    split, how, other = PLACEMENTS[name]
    run = RunSettings(context=1024, threads=1, **other)
    settings = planned(demo, two_cards, run, split, **how)
    memory = demand_of(demo, settings).footprint
    found, log = held(demo, settings)
    planned_bytes = memory.memory.compute_bytes + memory.pipeline_bytes
    for kinds in found.values():
        assert kinds.get("compute", 0) <= planned_bytes * 1.01, log


@pytest.mark.demo
def test_the_text_is_the_same_wherever_layers_lie(
    cards: list[str], two_cards: DeviceProfile, demo: ModelSpec
) -> None:
    settings = RunSettings(context=1024, threads=1)
    alone = LlamaCpp().complete(demo.path, settings, [PROMPT], [WRITTEN])
    for split, how, other in PLACEMENTS.values():
        if other:
            continue
        spread = planned(demo, two_cards, settings, split, **how)
        assert RpcLlamaCpp().complete(demo.path, spread, [PROMPT], [WRITTEN]) == alone


def test_the_text_of_a_mixture_is_the_same_wherever_its_experts_lie(
    cards: list[str], two_cards: DeviceProfile, mixture: ModelSpec
) -> None:
    settings = RunSettings(context=256, threads=1)
    alone = LlamaCpp().complete(mixture.path, settings, [PROMPT], [WRITTEN])
    spread = planned(mixture, two_cards, settings, (2, 1), experts=1)
    assert RpcLlamaCpp().complete(mixture.path, spread, [PROMPT], [WRITTEN]) == alone


def test_two_devices_of_one_name_are_told_apart_by_their_address() -> None:
    log = "".join(
        f"x: RPC0[127.0.0.1:{port}] model buffer size = 1.00 MiB\n" for port in (50001, 50002)
    )
    assert list(reported_devices(log)) == ["RPC0[127.0.0.1:50001]", "RPC0[127.0.0.1:50002]"]
