"""Device maps are what accelerate takes, and place what the device holds."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import dispatch_model
from accelerate.utils import check_device_map
from transformers import AutoModelForCausalLM

from edgecomp.devices.finding import find_device
from edgecomp.devices.profile import DeviceProfile
from edgecomp.models.reading import read_model
from edgecomp.models.spec import ModelSpec
from edgecomp.planning.huggingface_device_map import device_map
from edgecomp.recipes.run_settings import RunSettings

SETTINGS = RunSettings(context=256, threads=1)


def resized(device: DeviceProfile, **sizes: int) -> DeviceProfile:
    raw = device.model_dump()
    for pool in raw["pools"]:
        if pool["name"] in sizes:
            pool |= {"size": sizes[pool["name"]], "reserved": 0}
    return DeviceProfile.model_validate(raw)


def mapped(model: ModelSpec, device: DeviceProfile, context: int = 256) -> dict[str, Any]:
    types = {tensor.name: "F16" for tensor in model.tensors}
    settings = SETTINGS.model_copy(update={"context": context})
    return dict(device_map(model, types, device, settings))


@pytest.mark.parametrize("family", ["llama", "gemma3", "phi3", "gpt2", "qwen3"])
def test_accelerate_finds_every_weight_in_the_map(
    tiny_model: Callable[..., Path], family: str
) -> None:
    folder = tiny_model(family)
    places = mapped(read_model(folder), find_device("raspberry-pi-5-8gb"))
    model = AutoModelForCausalLM.from_pretrained(folder)
    check_device_map(model, places)
    assert set(places.values()) == {"cpu"}


def test_a_dispatched_model_computes_the_same_from_memory_and_disk(
    tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tiny_model("llama")
    spec = read_model(folder)
    plain = AutoModelForCausalLM.from_pretrained(folder)
    tokens = torch.tensor([[3, 8, 5, 13]])
    with torch.inference_mode():
        expected = plain(tokens).logits
    places = mapped(spec, find_device("raspberry-pi-5-8gb"))
    assert places["model.layers.0"] == "cpu"
    places["model.layers.0"] = "disk"
    sent = dispatch_model(copy.deepcopy(plain), places, offload_dir=str(tmp_path))
    with torch.inference_mode():
        assert torch.allclose(sent(tokens).logits, expected, atol=1e-5)
    assert any(tmp_path.iterdir())


def test_layers_go_to_the_cards_then_to_memory_then_to_disk(
    header_only: Callable[[str], Path], two_cards: DeviceProfile
) -> None:
    model = read_model(header_only("Llama-3.3-70B"))
    places = mapped(model, two_cards, context=4096)
    layers = [places[f"model.layers.{layer}"] for layer in range(80)]
    order = [place for at, place in enumerate(layers) if at == 0 or layers[at - 1] != place]
    assert order == ["disk", "cpu", 0, 1] and places["lm_head"] == places["model.norm"] == 1
    weight = 2 * 70.6e9 / 80
    assert layers.count(0) * weight < 25.2e9 and layers.count(1) * weight < 25.2e9
    assert layers.count("cpu") * weight < two_cards.pool("ram").usable_bytes


def test_a_model_that_fits_lies_on_the_card_whole(header_only: Callable[[str], Path]) -> None:
    model = read_model(header_only("Llama-3.1-8B"))
    assert set(mapped(model, find_device("rtx-4090"), 4096).values()) == {0}
    assert set(mapped(model, find_device("apple-m4-max"), 4096).values()) == {"mps"}


def test_cards_that_torch_does_not_know_hold_nothing(header_only: Callable[[str], Path]) -> None:
    model = read_model(header_only("SmolLM2-135M"))
    assert set(mapped(model, find_device("arc-b580")).values()) == {"cpu"}


def test_what_memory_does_not_hold_stays_on_disk(header_only: Callable[[str], Path]) -> None:
    model = read_model(header_only("Llama-3.1-8B"))
    board = resized(find_device("raspberry-pi-5-8gb"), ram=12 * 10**9)
    places = mapped(model, board)
    assert places["model.layers.0"] == "disk" and places["model.layers.31"] == "cpu"
    assert {"disk", "cpu"} == set(places.values())
