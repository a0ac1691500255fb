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

from edgecomp.common.errors import FileCorrupt, ModelIncomplete
from edgecomp.models.huggingface.quantization_config import Layout, Quantization
from edgecomp.models.integer_grid import IntegerGrid
from edgecomp.models.safetensors_header import StoredTensor

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


BLOCKS, BLOCK_SCALES = "_blocks", "_scales"
MXFP4_BLOCK = 32


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
