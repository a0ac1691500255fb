"""Quantized checkpoints hold the solver's values, whoever unpacks them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from checkpoints import copied_with_equal_head
from safetensors.torch import load_file
from torch import Tensor

from edgecomp.common.errors import CompressionSettingsInvalid, ExportRefused
from edgecomp.common.events import ignore
from edgecomp.common.folders import cache_folder
from edgecomp.exporters.huggingface import export_quantized
from edgecomp.formats.huggingface_layouts import HUGGINGFACE_FORMATS, huggingface_bytes
from edgecomp.making.compress_job import (
    Compressed,
    CompressionRequest,
    compress,
    compression_recipe,
)
from edgecomp.models.huggingface.model import stored_tensors
from edgecomp.models.reading import read_model
from edgecomp.recipes.calibration_mix import CalibrationMix

pytestmark = pytest.mark.usefixtures("lasting_torch")

MIX = CalibrationMix(samples={"math": 24, "instructions": 16}, row_tokens=64)


def made(source: Path, folder: Path, format_name: str, method: str = "gptq") -> Compressed:
    for earlier in (cache_folder() / "stages").glob("rounding-*"):
        shutil.rmtree(earlier)
    recipe = compression_recipe(
        CompressionRequest(model=str(source), method=method, format=format_name, calibration=MIX)
    )
    return compress(recipe, folder, None, ignore)


def rounded_checkpoint() -> Path:
    """What the last call of `made` rounded."""
    (folder,) = (cache_folder() / "stages").glob("rounding-*/checkpoint")
    return folder


def chosen() -> dict[str, Tensor]:
    """The float weights that the last call of `made` chose."""
    files = rounded_checkpoint().glob("*.safetensors")
    return {name: tensor for file in files for name, tensor in load_file(file).items()}


def codes(words: Tensor, bits: int) -> Tensor:
    """Every code of int32 words [n, words], lowest bits first."""
    shifts = torch.arange(0, 32, bits)
    return (words[..., None] >> shifts & (1 << bits) - 1).flatten(1)


def by_gptq(tensors: dict[str, Tensor], linear: str, bits: int) -> Tensor:
    """As AutoGPTQ's kernels read a linear: scale * (code - (zero + 1)), [columns, rows] turned."""
    group = tensors[f"{linear}.g_idx"].long()
    code = codes(tensors[f"{linear}.qweight"].T, bits).T
    zero = codes(tensors[f"{linear}.qzeros"], bits) + 1
    return (tensors[f"{linear}.scales"].float()[group] * (code - zero[group])).T


def by_compressed_tensors(tensors: dict[str, Tensor], linear: str, bits: int) -> Tensor:
    """As compressed-tensors reads a linear: signed codes, one scale a group of columns."""
    scale = tensors[f"{linear}.weight_scale"].float()
    code = codes(tensors[f"{linear}.weight_packed"], bits) - (1 << bits - 1)
    assert tuple(tensors[f"{linear}.weight_shape"].tolist()) == tuple(code.shape)
    return code * scale.repeat_interleave(code.shape[1] // scale.shape[1], dim=1)


@pytest.fixture(scope="module")
def source(tiny_model: Callable[..., Path]) -> Path:
    return tiny_model("llama")


@pytest.mark.parametrize(
    ("method", "format_name"),
    [
        ("gptq", "gptq-int4-g32"),
        ("awq+gptq", "compressed-tensors-int4-g32"),
        ("awq", "gptq-int8-g32"),
        ("wanda", "compressed-tensors-int8-g32"),
    ],
)
def test_an_independent_reader_finds_the_values_that_the_solver_chose(
    source: Path, tmp_path: Path, method: str, format_name: str
) -> None:
    result = made(source, tmp_path, format_name, method)
    row, folder = HUGGINGFACE_FORMATS[format_name], result.folder / result.file
    tensors, expected = load_file(folder / "model.safetensors"), chosen()
    suffix = ".qweight" if row.layout == "gptq" else ".weight_packed"
    linears = [name.removesuffix(suffix) for name in tensors if name.endswith(suffix)]
    assert len(linears) == 2 * 7
    read = by_gptq if row.layout == "gptq" else by_compressed_tensors
    for linear in linears:
        assert torch.equal(read(tensors, linear, row.bits), expected[f"{linear}.weight"]), linear
    for name in set(tensors) & set(expected):
        assert torch.equal(tensors[name], expected[name].half())
    if method == "wanda":
        zeros = [(expected[f"{linear}.weight"] == 0).float().mean() for linear in linears]
        assert min(zeros) >= 0.5


@pytest.mark.parametrize("format_name", ["gptq-int4-g32", "compressed-tensors-int8-g32"])
def test_the_weights_take_the_planned_bytes(source: Path, tmp_path: Path, format_name: str) -> None:
    result = made(source, tmp_path, format_name)
    stored = stored_tensors(result.folder / result.file).values()
    assert sum(tensor.size_bytes for tensor in stored) == huggingface_bytes(
        read_model(source), format_name
    )
    model = read_model(result.folder / result.file)
    assert model.quantization and model.parameters == read_model(source).parameters
    assert [check.passed for check in result.checks] == [True] * 4


def test_transformers_loads_a_compressed_tensors_folder_without_us(
    source: Path, tmp_path: Path
) -> None:
    pytest.importorskip("compressed_tensors", reason="transformers needs compressed-tensors here")
    from transformers import AutoModelForCausalLM

    result = made(source, tmp_path, "compressed-tensors-int4-g32")
    expected = chosen()
    plain = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    plain.load_state_dict(expected, strict=False)
    loaded = AutoModelForCausalLM.from_pretrained(result.folder / result.file, dtype=torch.float32)
    tokens = torch.arange(1, 60)[None]
    with torch.no_grad():
        torch.testing.assert_close(
            loaded(tokens).logits.float(), plain(tokens).logits, rtol=0, atol=0.02
        )


def test_groups_that_do_not_divide_the_columns_are_refused_before_any_work(
    source: Path, tmp_path: Path
) -> None:
    with pytest.raises(CompressionSettingsInvalid, match=r"down_proj.*groups of 64 must divide"):
        made(source, tmp_path, "gptq-int4-g64")


def test_codes_of_another_format_are_refused(source: Path, tmp_path: Path) -> None:
    made(source, tmp_path / "made", "gptq-int4-g32")
    with pytest.raises(ExportRefused, match="its codes are of INT4_32 type"):
        export_quantized(rounded_checkpoint(), tmp_path / "out", "gptq-int8-g32")
    assert not (tmp_path / "out").exists()


def test_llama_cpp_rounds_no_checkpoint(source: Path) -> None:
    with pytest.raises(CompressionSettingsInvalid, match="rounded by rtn, gptq, awq"):
        made(source, Path("never"), "gptq-int4-g32", "llama.cpp")


def test_the_config_says_what_the_layout_needs(source: Path, tmp_path: Path) -> None:
    folder = made(source, tmp_path, "gptq-int4-g32").folder / "gptq-int4-g32"
    said = json.loads((folder / "config.json").read_text())["quantization_config"]
    assert said == json.loads((folder / "quantize_config.json").read_text())
    assert (said["bits"], said["group_size"], said["sym"], said["desc_act"]) == (4, 32, True, False)


def test_a_head_that_is_the_embedding_over_again_is_shipped_once(  # A24
    source: Path, tmp_path: Path
) -> None:
    folder = copied_with_equal_head(source, tmp_path / "m")
    result = made(folder, tmp_path / "out", "gptq-int4-g32")
    assert all(check.passed for check in result.checks)
    tensors = stored_tensors(result.folder / result.file)
    assert "lm_head.weight" not in tensors
    stored = sum(tensor.size_bytes for tensor in tensors.values())
    assert stored == huggingface_bytes(read_model(folder), "gptq-int4-g32")
    config = json.loads((result.folder / result.file / "config.json").read_text())
    assert config["tie_word_embeddings"] is True
