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


FLOAT8 = {"group_0": {"weights": {"num_bits": 8, "type": "float", "strategy": "channel"}}}
FLOAT4 = {"group_0": {"weights": {"num_bits": 4, "type": "float", "group_size": 16}}}
COMPRESSED = {"quant_method": "compressed-tensors"}
SMALL_CODES: dict[str, tuple[dict[str, Any], Callable[..., Any], str]] = {
    "fp8": (
        {"quant_method": "fp8", "weight_block_size": [128, 128]},
        made_by.block_fp8_parts,
        "fp8 F8_E4M3",
    ),
    "float-quantized": (
        COMPRESSED | {"format": "float-quantized", "config_groups": FLOAT8},
        made_by.row_fp8_parts,
        "compressed-tensors F8_E4M3",
    ),
    "modelopt fp8": (
        {"quant_method": "modelopt", "quant_algo": "FP8"},
        made_by.whole_fp8_parts,
        "modelopt F8_E4M3",
    ),
    "nvfp4-pack-quantized": (
        COMPRESSED | {"format": "nvfp4-pack-quantized", "config_groups": FLOAT4},
        made_by.nvfp4_parts,
        "compressed-tensors F4_E2M1",
    ),
    "modelopt nvfp4": (
        {"quant_method": "modelopt", "quant_algo": "NVFP4"},
        partial(made_by.nvfp4_parts, modelopt=True),
        "modelopt F4_E2M1",
    ),
    "mxfp4-pack-quantized": (
        COMPRESSED | {"format": "mxfp4-pack-quantized", "config_groups": FLOAT4},
        made_by.mxfp4_parts,
        "compressed-tensors F4_E2M1",
    ),
    "bitnet": (
        {"quant_method": "bitnet", "linear_class": "bitlinear"},
        partial(made_by.ternary_parts, divides=True),
        "bitnet INT2",
    ),
    "bitnet, autobitlinear": (
        {"quant_method": "bitnet", "linear_class": "autobitlinear"},
        partial(made_by.ternary_parts, divides=False),
        "bitnet INT2",
    ),
}


@pytest.mark.parametrize("layout", SMALL_CODES)
def test_small_floats_and_ternary_codes_become_the_weights_they_stand_for(
    tiny_model: Callable[..., Path], tmp_path: Path, layout: str
) -> None:
    config, parts_of, title = SMALL_CODES[layout]
    source, folder = tiny_model("llama"), tmp_path / "quantized"
    expected = made_by.write_small_codes(source, folder, config, parts_of)
    model, original = read_model(folder), read_model(source)
    assert (model.quantization, model.layout) == (title, "known")
    assert {(t.name, t.shape) for t in model.tensors} == {
        (t.name, t.shape) for t in original.tensors
    }
    assert model.bits_per_weight < original.bits_per_weight

    weights = load_file(export(model, tmp_path / "float", "F32").path / "model.safetensors")
    for name, values in expected.items():
        torch.testing.assert_close(weights[name], values, rtol=0, atol=0)
    assert not [name for name in weights if "scale" in name]


def test_what_modelopt_says_beside_config_json_is_read(
    tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    config, parts_of, title = SMALL_CODES["modelopt nvfp4"]
    folder = tmp_path / "m"
    made_by.write_small_codes(tiny_model("llama"), folder, config, parts_of)
    said = json.loads((folder / "config.json").read_text())
    del said["quantization_config"]
    (folder / "config.json").write_text(json.dumps(said))
    beside = {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "NVFP4"}}
    (folder / "hf_quant_config.json").write_text(json.dumps(beside))
    model = read_model(folder)
    assert model.quantization == title
    made = export(model, tmp_path / "float", "F32").path
    assert read_model(made).quantization is None


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
        ({"quant_method": "compressed-tensors", "format": "marlin-24"}, ".*marlin-24"),
        ({"quant_method": "modelopt", "quant_algo": "W4A8_AWQ"}, r"modelopt \(W4A8_AWQ\)"),
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
