"""What a Hugging Face checkpoint's files say of its quantization."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from edgecomp.common.errors import FileCorrupt, QuantizationUnsupported, shown
from edgecomp.common.safe_text import one_line
from edgecomp.models.huggingface.weight_files import read_json

Layout = Literal["gptq", "awq", "pack-quantized", "int-quantized", "small-floats", "ternary"]
FLOAT_FORMATS = ("float-quantized", "nvfp4-pack-quantized", "mxfp4-pack-quantized")
"""compressed-tensors' formats of small floats."""


@dataclass(frozen=True)
class Quantization:
    """How a checkpoint says that its linears are stored."""

    layout: Layout
    zero_shift: int
    """What GPTQ's first layout leaves off a stored zero point: 1; 0 everywhere else."""

    bits: int | None = None
    """Bits of a weight, where the tensors' shapes do not tell."""

    group: int | None = None
    """Columns that share a scale; None or -1: what the number of scales says."""

    symmetric: bool = False
    """The config says that every zero point is the middle of the codes."""

    ordered: bool = True
    """Neighbouring columns share a scale; not so where GPTQ took them in another order."""

    block: tuple[int, int] | None = None
    """Rows and columns that share a scale; None: what the scales' shape says."""

    divides: bool = False
    """Ternary codes are divided by their scale."""


class GroupedWeights(BaseModel):
    """How compressed-tensors stores the weights of a group of linears."""

    type: str | None = "int"
    num_bits: int | None = None
    group_size: int | None = None
    symmetric: bool | None = True
    actorder: str | bool | None = None
    block_structure: tuple[int, int] | None = None


class LinearGroup(BaseModel):
    weights: GroupedWeights | None = None
    format: str | None = None


class QuantizationEntries(BaseModel):
    """What is read of a config's `quantization_config`; other entries may hold anything."""

    quant_method: str | None = None
    format: str | None = None
    checkpoint_format: str | None = "gptq"
    version: str = "gemm"
    bits: int | None = None
    w_bit: int | None = None
    group_size: int | None = None
    sym: bool | None = None
    desc_act: bool | None = None
    config_groups: dict[str, LinearGroup] = {}
    load_in_4bit: bool | None = None
    load_in_8bit: bool | None = None
    bnb_4bit_quant_type: str | None = None
    weight_block_size: tuple[int, int] | None = None
    linear_class: str | None = None
    quant_algo: str | None = None


SAID_IN = ("quantization_config", "compression_config")
"""The entries of config.json, the later name first."""

MODELOPT_CONFIG = "hf_quant_config.json"
"""Where ModelOpt says what older exports do not say in config.json."""

MODELOPT_ALGORITHMS = (None, "FP8", "FP8_PB_WO", "NVFP4", "W4A16_NVFP4", "MIXED_PRECISION")
"""Of its weights that are codes times scales, and nothing more: AWQ's also want an input scaled.
"""

CONVERTED_METHOD = "mxfp4"
"""gpt-oss's, whose weights are not read here: llama.cpp's converter keeps their exact values."""


def converted_method(config: Mapping[str, Any]) -> str | None:
    """The method of a checkpoint that only llama.cpp's converter reads; None for any other."""
    given = config.get("quantization_config")
    method = given.get("quant_method") if isinstance(given, dict) else None
    return method if method == CONVERTED_METHOD else None


def said_of_quantization(config: Mapping[str, Any], folder: Path) -> dict[str, Any] | None:
    """What a checkpoint's files say of its quantization; None where they say nothing."""
    given = next((config[entry] for entry in SAID_IN if config.get(entry)), None)
    if isinstance(given, dict):
        return given
    beside = folder / MODELOPT_CONFIG
    if not beside.is_file():
        return None
    said = read_json(beside).get("quantization")
    return {"quant_method": "modelopt", **(said if isinstance(said, dict) else {})}


def read_quantization(config: Mapping[str, Any], folder: Path) -> Quantization | None:
    """What config.json says of quantization; None for a float checkpoint.

    Raises QuantizationUnsupported for methods whose weights are not read here, by name.
    """
    given = said_of_quantization(config, folder)
    if given is None:
        return None
    try:
        said = QuantizationEntries.model_validate(given)
    except ValidationError as error:
        fault = error.errors()[0]
        name = ".".join(str(part) for part in fault["loc"])
        raise FileCorrupt(
            folder / "config.json",
            f"its quantization_config's {shown(name)} is {shown(fault['input'])}.",
            "Restore it from the model's page.",
        ) from error
    method = one_line(str(said.quant_method))
    if method == "gptq":
        old = said.checkpoint_format != "gptq_v2"
        return Quantization(
            "gptq",
            int(old),
            group=said.group_size,
            symmetric=bool(said.sym),
            ordered=not said.desc_act,
        )
    if method == "awq":
        version = one_line(said.version.lower())
        bits = said.bits if said.bits is not None else said.w_bit
        if version != "gemm" or bits != 4:
            raise QuantizationUnsupported(folder, f"awq ({version}, {bits} bits)")
        return Quantization("awq", 0)
    if method == "compressed-tensors":
        return _read_compressed_tensors(said, folder)
    if method == "modelopt" and said.quant_algo not in MODELOPT_ALGORITHMS:
        raise QuantizationUnsupported(folder, f"modelopt ({one_line(str(said.quant_algo))})")
    if method in ("fp8", "fbgemm_fp8", "modelopt"):
        return Quantization("small-floats", 0, block=said.weight_block_size)
    if method == "bitnet":
        return Quantization("ternary", 0, divides=said.linear_class != "autobitlinear")
    if method == "bitsandbytes" and said.load_in_4bit:
        method += f" ({one_line(said.bnb_4bit_quant_type or '4 bits')})"
    elif method == "bitsandbytes" and said.load_in_8bit:
        method += " (LLM.int8)"
    raise QuantizationUnsupported(folder, method)


def _read_compressed_tensors(said: QuantizationEntries, folder: Path) -> Quantization:
    layout = said.format
    groups = [row.weights or GroupedWeights() for row in said.config_groups.values()]
    formats = {row.format or layout for row in said.config_groups.values()}
    is_float = {row.type for row in groups} == {"float"}
    if is_float and formats <= {*FLOAT_FORMATS, "naive-quantized"}:
        blocks = {row.block_structure for row in groups}
        return Quantization("small-floats", 0, block=blocks.pop() if len(blocks) == 1 else None)
    kinds = {(row.type, row.num_bits, row.group_size) for row in groups}
    symmetric = all(row.symmetric for row in groups)
    # "static" and "weight" keep neighbouring columns' scales together.
    ordered = all(row.actorder not in ("group", "dynamic", True) for row in groups)
    if len(kinds) == 1:
        kind, bits, group = kinds.pop()
        if layout == "pack-quantized" and kind == "int" and bits in (2, 4, 8):
            return Quantization("pack-quantized", 0, bits, group, symmetric, ordered)
        if layout in ("int-quantized", "naive-quantized") and kind == "int" and bits == 8:
            return Quantization("int-quantized", 0, bits, group, symmetric, ordered)
    raise QuantizationUnsupported(folder, f"compressed-tensors ({one_line(str(layout))})")
