"""Quantized Hugging Face checkpoints, read from headers only: GPTQ, AWQ, compressed-tensors, FP8,
ModelOpt's and BitNet's.

A linear is stored as several tensors: GPTQ and AWQ hold `qweight`, `qzeros`, `scales` (GPTQ also
`g_idx`), the others `weight_packed` or `weight` with `weight_scale` (FP8: or `weight_scale_inv`).
Here they become one tensor under the weight's own name, with its shape and type, so that a
quantized model is planned by the formulas of any other. Sources of the layouts: AutoGPTQ's
`qlinear_cuda_old.py`, AutoAWQ's `packing_utils.py`, compressed-tensors' `compressors/`,
transformers' `integrations/finegrained_fp8.py` and `bitnet.py`, ModelOpt's `qtensor/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from edgecomp.common.errors import FileCorrupt, ModelIncomplete, QuantizationUnsupported, shown
from edgecomp.common.safe_text import one_line
from edgecomp.models.huggingface.weight_files import read_json
from edgecomp.models.integer_grid import IntegerGrid
from edgecomp.models.safetensors_header import StoredTensor

Layout = Literal["gptq", "awq", "pack-quantized", "int-quantized", "small-floats", "ternary"]
WORD_BITS = 32
PARTS: dict[Layout, tuple[str, ...]] = {
    "gptq": ("qweight", "qzeros", "scales", "g_idx"),
    "awq": ("qweight", "qzeros", "scales"),
    "pack-quantized": (
        "weight_packed", "weight_scale", "weight_shape", "weight_zero_point", "weight_g_idx",
    ),
    "int-quantized": ("weight", "weight_scale", "weight_zero_point"),
    "small-floats": (
        "weight", "weight_packed", "weight_scale", "weight_scale_inv", "weight_scale_2",
        "weight_global_scale",
    ),
    "ternary": ("weight", "weight_scale"),
}  # fmt: skip
"""What a linear is stored as, by the end of the tensors' names."""

CODES = ("qweight", "weight_packed", "weight")
SCALES = ("scales", "weight_scale", "weight_scale_inv")

ACTIVATIONS = (
    "input_scale", "input_zero_point", "output_scale", "weight_global_scale", "activation_scale",
    "input_global_scale", "input_scale_ub", ".k_scale", ".v_scale",
)  # fmt: skip
"""Scales of inputs, outputs and caches: of no use once the weights are floats."""

FP8 = ("F8_E4M3", "F8_E5M2")
FP4 = "F4_E2M1"
"""NVFP4's and MXFP4's codes: two to a byte, the first in the low half."""

TERNARY_OF_A_BYTE = 4
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


@dataclass(frozen=True)
class QuantizedLinear:
    """One linear: its weights' bits, their shape [rows, columns], the tensors they are in, and the
    grid they lie on, where neighbouring columns share a step."""

    bits: int
    shape: tuple[int, int]
    parts: Mapping[str, StoredTensor]
    grid: IntegerGrid | None
    type: str
    """Of its codes, as plans and reports name it: INT2 to INT8, F8_E4M3, F4_E2M1 and so on."""

    @property
    def codes(self) -> StoredTensor:
        return _first_of(CODES, self.parts)

    @property
    def scales(self) -> StoredTensor:
        return _first_of(SCALES, self.parts)


def _first_of(names: tuple[str, ...], parts: Mapping[str, StoredTensor]) -> StoredTensor:
    return next(parts[name] for name in names if name in parts)


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


MODELOPT_CONFIG = "hf_quant_config.json"
"""Where ModelOpt says what older exports do not say in config.json."""

MODELOPT_ALGORITHMS = (None, "FP8", "FP8_PB_WO", "NVFP4", "W4A16_NVFP4", "MIXED_PRECISION")
"""Of its weights that are codes times scales, and nothing more: AWQ's also want an input scaled.
"""

CONVERTED_METHOD = "mxfp4"
"""gpt-oss's, whose weights are not read here: llama.cpp's converter keeps their exact values."""

BLOCKS, BLOCK_SCALES = "_blocks", "_scales"
MXFP4_BLOCK = 32


def converted_method(config: Mapping[str, Any]) -> str | None:
    """The method of a checkpoint that only llama.cpp's converter reads; None for any other."""
    given = config.get("quantization_config")
    method = given.get("quant_method") if isinstance(given, dict) else None
    return method if method == CONVERTED_METHOD else None


def joined_blocks(stored: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """`stored` with the weights that MXFP4 keeps as blocks and scales as one tensor each, in the
    shape of its values."""
    found: dict[str, StoredTensor] = {}
    for name, tensor in stored.items():
        weight = name.removesuffix(BLOCKS)
        scales = stored.get(weight + BLOCK_SCALES) if weight != name else None
        if scales is not None:
            shape = (*scales.shape[:-1], scales.shape[-1] * MXFP4_BLOCK)
            size = tensor.size_bytes + scales.size_bytes
            found[weight] = StoredTensor(weight, "MXFP4", shape, tensor.file, tensor.start, size)
        elif name.removesuffix(BLOCK_SCALES) + BLOCKS not in stored:
            found[name] = tensor
    return found


def said_of_quantization(config: Mapping[str, Any], folder: Path) -> dict[str, Any] | None:
    """What a checkpoint's files say of its quantization; None where they say nothing."""
    given = config.get("quantization_config") or config.get("compression_config")
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


MARKS = {
    ".qweight": "GPTQ or AWQ",
    ".weight_packed": "compressed-tensors",
    ".quant_state.bitsandbytes__nf4": "bitsandbytes (nf4)",
    ".quant_state.bitsandbytes__fp4": "bitsandbytes (fp4)",
    ".absmax": "bitsandbytes",
    ".quant_map": "bitsandbytes",
    ".SCB": "bitsandbytes (LLM.int8)",
    ".weight_scale": "compressed-tensors or FP8",
    ".weight_scale_inv": "FP8",
}
"""Ends of the names of tensors that only quantized checkpoints have, and whose layout it is: the
most telling first."""

WHOLE_NUMBERS = ("U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64")


def refuse_unannounced(stored: Mapping[str, StoredTensor], folder: Path) -> None:
    """Raises ModelIncomplete where weights are stored quantized and config.json does not say so:
    their shapes are not those of the model, or their values are codes."""
    for mark, method in MARKS.items():
        for name in stored:
            if name.endswith(mark):
                raise _unannounced(
                    folder, f"{name} is stored, as {method} stores a quantized linear"
                )
    for name, tensor in stored.items():
        if name.endswith(".weight") and len(tensor.shape) > 1 and tensor.dtype in WHOLE_NUMBERS:
            raise _unannounced(
                folder,
                f"{name} is stored as {tensor.dtype} {list(tensor.shape)}, the codes of a "
                "quantized linear without what they stand for (bitsandbytes keeps that beside, as "
                f"{name}.absmax)",
            )


def _unannounced(folder: Path, found: str) -> ModelIncomplete:
    return ModelIncomplete(
        folder,
        f"{found}, and config.json has no quantization_config.",
        "Restore the quantized model's own config.json (older tools wrote quantize_config.json "
        "beside it), or give the checkpoint from before its quantization.",
    )


def quantized_linears(
    stored: Mapping[str, StoredTensor], quantization: Quantization
) -> dict[str, QuantizedLinear]:
    """The quantized linears of a checkpoint, by their weights' names.

    Raises FileCorrupt where the tensors of one do not fit together.
    """
    codes = [part for part in PARTS[quantization.layout] if part in CODES]
    found = {}
    for name in stored:
        prefix, _, last = name.rpartition(".")
        if last not in codes or not any(f"{prefix}.{scales}" in stored for scales in SCALES):
            continue
        parts = {
            part: stored[f"{prefix}.{part}"]
            for part in PARTS[quantization.layout]
            if f"{prefix}.{part}" in stored
        }
        try:
            bits, shape = _shape(quantization, parts)
        except (KeyError, ZeroDivisionError, ValueError) as error:
            raise FileCorrupt(
                stored[name].file, f"the tensors of {prefix} are no {quantization.layout} weights."
            ) from error
        grid = _grid(quantization, parts, bits, shape)
        kind = f"INT{bits}"
        if quantization.layout == "small-floats":
            kind = stored[name].dtype if bits == 8 else FP4
        found[f"{prefix}.weight"] = QuantizedLinear(bits, shape, parts, grid, kind)
    return found


def _grid(
    quantization: Quantization,
    parts: Mapping[str, StoredTensor],
    bits: int,
    shape: tuple[int, int],
) -> IntegerGrid | None:
    if quantization.layout in ("small-floats", "ternary"):
        return None
    scales = _first_of(SCALES, parts)
    if not quantization.ordered or scales.dtype != "F16":
        return None
    # GPTQ and AWQ hold [groups, rows] of scales, compressed-tensors [rows, groups].
    groups = scales.shape[0] if "scales" in parts else scales.shape[-1]
    if shape[1] % groups:
        return None
    return IntegerGrid(bits=bits, group=shape[1] // groups, symmetric=quantization.symmetric)


def _shape(
    quantization: Quantization, parts: Mapping[str, StoredTensor]
) -> tuple[int, tuple[int, int]]:
    """Bits and [rows, columns] of a linear."""
    codes = _first_of(CODES, parts)
    first = codes.shape
    match quantization.layout:
        case "gptq":
            rows = parts["scales"].shape[1]
            bits, rest = divmod(WORD_BITS * parts["qzeros"].shape[1], rows)
            shape = rows, WORD_BITS * first[0] // bits
        case "awq":
            bits, rest, shape = 4, 0, (first[1] * WORD_BITS // 4, first[0])
        case "pack-quantized":
            bits, rest = quantization.bits or 0, 0
            shape = first[0], first[1] * WORD_BITS // bits
        case "int-quantized":
            bits, rest, shape = 8, 0, (first[0], first[1])
        case "small-floats" if codes.dtype in FP8:
            bits, rest, shape = 8, 0, (first[0], first[1])
        case "small-floats" if codes.dtype == "U8":
            bits, rest, shape = 4, 0, (first[0], 2 * first[1])
        case "ternary" if codes.dtype == "U8":
            bits, rest, shape = 2, 0, (TERNARY_OF_A_BYTE * first[0], first[1])
        case _:
            raise ValueError(f"codes stored as {codes.dtype}")
    if rest or bits not in (2, 3, 4, 8):
        raise ValueError(f"{bits} bits")
    return bits, shape


def joined_tensors(
    stored: Mapping[str, StoredTensor], linears: Mapping[str, QuantizedLinear]
) -> dict[str, StoredTensor]:
    """`stored` with one tensor for each quantized linear, of its codes' type, in their places."""
    parts = {part.name: name for name, row in linears.items() for part in row.parts.values()}
    tensors: dict[str, StoredTensor] = {}
    for name, tensor in stored.items():
        weight = parts.get(name)
        if weight is not None:
            tensors[weight] = StoredTensor(
                weight,
                linears[weight].type,
                linears[weight].shape,
                tensor.file,
                tensor.start,
                sum(part.size_bytes for part in linears[weight].parts.values()),
                linears[weight].grid,
            )
        elif not name.endswith(ACTIVATIONS):
            tensors[name] = tensor
    return tensors
