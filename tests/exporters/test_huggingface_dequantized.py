"""Checkpoints that others quantized are read to the values that they stand for."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import quantized_checkpoints as made_by
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from edgecomp.common.errors import FileCorrupt, QuantizationUnsupported
from edgecomp.exporters.huggingface import export
from edgecomp.models.huggingface.dequantized import unpack
from edgecomp.models.reading import read_model

GROUPS = {
    "group_0": {
        "targets": ["Linear"],
        "weights": {"num_bits": 4, "type": "int", "symmetric": False, "group_size": 32},
    }
}
EIGHT = {
    "group_0": {"weights": {"num_bits": 8, "type": "int", "symmetric": True, "group_size": None}}
}
PACKED: dict[str, Any] = {"quant_method": "compressed-tensors", "format": "pack-quantized"}
LAYOUTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "gptq": (
        {"quant_method": "gptq", "bits": 4, "group_size": 32},
        {"parts_of": made_by.gptq_parts},
    ),
    "gptq 3 bits": (
        {"quant_method": "gptq", "bits": 3, "group_size": 32},
        {"parts_of": made_by.gptq_parts, "bits": 3},
    ),
    "gptq 8 bits, short last group": (
        {"quant_method": "gptq", "bits": 8, "group_size": 64},
        {"parts_of": made_by.gptq_parts, "bits": 8, "group": 64, "symmetric": True},
    ),
    "gptq v2": (
        {"quant_method": "gptq", "bits": 4, "checkpoint_format": "gptq_v2", "group_size": 32},
        {"parts_of": partial(made_by.gptq_parts, shift=0)},
    ),
    "awq": ({"quant_method": "awq", "bits": 4, "version": "gemm"}, {"parts_of": made_by.awq_parts}),
    "pack-quantized": (PACKED | {"config_groups": GROUPS}, {"parts_of": made_by.packed_parts}),
    "pack-quantized, symmetric": (
        PACKED | {"config_groups": GROUPS},
        {"parts_of": made_by.packed_parts, "symmetric": True},
    ),
    "int-quantized": (
        {"quant_method": "compressed-tensors", "format": "int-quantized", "config_groups": EIGHT},
        {"parts_of": made_by.int8_parts, "bits": 8, "group": 96, "symmetric": True},
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_quantized_checkpoint_becomes_the_float_weights_it_stands_for(
    tiny_model: Callable[..., Path], tmp_path: Path, layout: str
) -> None:
    config, how = LAYOUTS[layout]
    source, folder = tiny_model("llama"), tmp_path / "quantized"
    expected = made_by.write_quantized(source, folder, config, **how)
    model, original = read_model(folder), read_model(source)
    assert model.quantization is not None and config["quant_method"] in model.quantization
    assert {(t.name, t.shape) for t in model.tensors} == {
        (t.name, t.shape) for t in original.tensors
    }
    assert model.parameters == original.parameters
    assert model.bits_per_weight < 16

    record = export(model, tmp_path / "float", "F32")
    weights = load_file(record.path / "model.safetensors")
    for name, values in expected.items():
        exact = layout != "int-quantized"  # whose scales were rounded again
        torch.testing.assert_close(weights[name], values, rtol=0 if exact else 1e-2, atol=0)
    again = read_model(record.path)
    assert again.quantization is None and again.tokenizer == original.tokenizer
    assert "quantization_config" not in json.loads((record.path / "config.json").read_text())


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"quant_method": "bitsandbytes"}, "bitsandbytes"),
        (
            {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
            r"bitsandbytes \(nf4\)",
        ),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, r"bitsandbytes \(LLM.int8\)"),
        ({"quant_method": "hqq"}, "hqq"),
        ({"quant_method": "awq", "version": "gemv", "bits": 4}, "awq .gemv"),
        ({"quant_method": "compressed-tensors", "format": "nvfp4-pack-quantized"}, ".*nvfp4"),
    ],
)
def test_methods_that_are_not_read_are_refused_by_name(
    tiny_model: Callable[..., Path], tmp_path: Path, config: dict[str, Any], named: str
) -> None:
    made_by.write_quantized(tiny_model("llama"), tmp_path / "m", config, made_by.gptq_parts)
    with pytest.raises(QuantizationUnsupported, match=f"quantized by {named}.*Known: gptq"):
        read_model(tmp_path / "m")


def test_parts_that_do_not_fit_together_are_named(
    tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    config, how = LAYOUTS["gptq"]
    made_by.write_quantized(tiny_model("llama"), tmp_path / "m", config, **how)
    file = tmp_path / "m" / "model.safetensors"
    tensors = load_file(file)
    del tensors["model.layers.0.mlp.up_proj.qzeros"]
    save_file(tensors, file)
    with pytest.raises(FileCorrupt, match=r"layers\.0\.mlp\.up_proj are no gptq weights"):
        read_model(tmp_path / "m")


@given(bits=st.sampled_from([2, 3, 4, 8]), data=st.data())
def test_words_unpack_to_the_codes_that_were_packed(bits: int, data: st.DataObject) -> None:
    codes = data.draw(st.lists(st.integers(0, (1 << bits) - 1), min_size=32, max_size=32))
    words = made_by.packed(torch.tensor([codes]), bits).numpy()
    assert unpack(words, bits).tolist() == [codes]
