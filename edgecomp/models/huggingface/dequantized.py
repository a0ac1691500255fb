"""The float weights of a quantized checkpoint's linears: (code - zero point) * scale.

Codes are unsigned and stand one after another in little-endian int32 words: GPTQ's along a column
of its transposed matrix, AWQ's and compressed-tensors' along a row; AWQ interleaves each word's
eight columns. compressed-tensors stores signed codes with 2^(bits - 1) added. Small floats (FP8,
FP4) are values by themselves, times their scales.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgecomp.common.errors import FileCorrupt
from edgecomp.models.float_conversion import NUMPY_TYPES, to_float32
from edgecomp.models.huggingface.quantization_config import Quantization
from edgecomp.models.huggingface.quantized import FP8, WORD_BITS, QuantizedLinear
from edgecomp.models.safetensors_header import StoredTensor

Floats = NDArray[np.float32]
Integers = NDArray[np.int32]
AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
"""The column of a word's eight that each of its nibbles, from the low end, belongs to."""


EXPONENTS = ("U8", "F8_E8M0")
EXPONENT_BIAS = 127


def _small_float_values(exponent_bits: int, mantissa_bits: int) -> Floats:
    """What each code of a sign, an exponent and a mantissa stands for, without NaN and infinity."""
    codes = np.arange(1 << (1 + exponent_bits + mantissa_bits))
    mantissa = codes & ((1 << mantissa_bits) - 1)
    exponent = (codes >> mantissa_bits) & ((1 << exponent_bits) - 1)
    bias = (1 << (exponent_bits - 1)) - 1
    whole = mantissa + np.where(exponent > 0, 1 << mantissa_bits, 0)
    values = np.ldexp(whole.astype(np.float32), np.maximum(exponent, 1) - bias - mantissa_bits)
    signed: Floats = np.where(codes >> (exponent_bits + mantissa_bits), -values, values)
    return signed.astype(np.float32)


FP4_VALUES = _small_float_values(2, 1)
FP8_VALUES = {"F8_E4M3": _small_float_values(4, 3), "F8_E5M2": _small_float_values(5, 2)}
FP8_VALUES["F8_E4M3"][[0x7F, 0xFF]] = np.nan
FP8_VALUES["F8_E5M2"][[*range(0x7C, 0x80), *range(0xFC, 0x100)]] = np.nan


def dequantize(linear: QuantizedLinear, quantization: Quantization) -> Floats:
    """The weights of one linear, float32 [rows, columns]. Raises FileCorrupt where its tensors do
    not fit together."""
    try:
        match quantization.layout:
            case "gptq":
                weight = _gptq(linear, quantization)
            case "awq":
                weight = _awq(linear)
            case "small-floats":
                weight = _small_floats(linear, quantization)
            case "ternary":
                weight = _ternary(linear, quantization)
            case _:
                weight = _dequantize_compressed(linear, quantization)
        return weight.reshape(linear.shape)
    except (ValueError, IndexError) as error:
        first = next(iter(linear.parts.values()))
        raise FileCorrupt(
            first.file, f"the parts of {first.name} do not fit together ({error})."
        ) from error


def _gptq(linear: QuantizedLinear, quantization: Quantization) -> Floats:
    """qweight [columns * bits / 32, rows]; qzeros [groups, rows * bits / 32]; scales
    [groups, rows]; g_idx [columns]: each column's group."""
    bits, parts, zero_shift = linear.bits, linear.parts, quantization.zero_shift
    rows, columns = linear.shape
    codes = unpack(_integers(parts["qweight"]).T, bits)[:, :columns]
    # A zero point is within the codes: what AutoGPTQ stores of 0, less 1, has wrapped around.
    zeros = (unpack(_integers(parts["qzeros"]), bits)[:, :rows] + zero_shift) & ((1 << bits) - 1)
    scales = _floats(parts["scales"])
    group = _groups(parts.get("g_idx"), columns, len(scales), quantization.group)
    return (codes - zeros[group].T).astype(np.float32) * scales[group].T


def _awq(linear: QuantizedLinear) -> Floats:
    """qweight [columns, rows / 8]; qzeros [groups, rows / 8]; scales [groups, rows]."""
    parts = linear.parts
    codes, zeros = (_awq_order(unpack(_integers(parts[p]), 4)) for p in ("qweight", "qzeros"))
    size = len(codes) // len(zeros)
    zeros = np.repeat(zeros, size, axis=0)
    scales = np.repeat(_floats(parts["scales"]), size, axis=0)
    return np.ascontiguousarray(((codes - zeros).astype(np.float32) * scales).T)


def _awq_order(codes: Integers) -> Integers:
    ordered = np.empty_like(codes).reshape(len(codes), -1, 8)
    ordered[..., list(AWQ_ORDER)] = codes.reshape(ordered.shape)
    return ordered.reshape(codes.shape)


def _dequantize_compressed(linear: QuantizedLinear, quantization: Quantization) -> Floats:
    """weight_packed [rows, columns * bits / 32], or weight int8; weight_scale [rows, groups], one
    for each row or for all; weight_zero_point, where there is one, packed along the rows."""
    bits, parts = linear.bits, linear.parts
    rows, columns = linear.shape
    packed = "weight_packed" in parts
    codes = (
        unpack(_integers(parts["weight_packed"]), bits)[:, :columns] - (1 << (bits - 1))
        if packed
        else _integers(parts["weight"])
    )
    scales = _floats(parts["weight_scale"]).reshape(-1, parts["weight_scale"].shape[-1])
    zeros = np.zeros(1, dtype=np.int32)
    if "weight_zero_point" in parts:
        zeros = _integers(parts["weight_zero_point"])
        if packed:
            zeros = unpack(zeros.T, bits)[:, :rows].T - (1 << (bits - 1))
    group = _groups(parts.get("weight_g_idx"), columns, scales.shape[1], quantization.group)
    if zeros.size > 1:
        zeros = zeros.reshape(scales.shape)[:, group]
    return (codes - zeros).astype(np.float32) * scales[:, group]


def _small_floats(linear: QuantizedLinear, quantization: Quantization) -> Floats:
    """FP8 [rows, columns] or two FP4 codes a byte; a scale for all, each row, or each block of rows
    and columns, itself under a second one where there is one."""
    parts, codes = linear.parts, linear.codes
    if codes.dtype in FP8:
        weight = _floats(codes)
    else:
        raw = _array(codes, np.dtype(np.uint8))
        weight = FP4_VALUES[np.stack([raw & 15, raw >> 4], axis=-1).reshape(linear.shape)]
    scales = _scales(linear.scales)
    if "weight_scale_2" in parts:
        scales = scales * _floats(parts["weight_scale_2"])
    elif "weight_global_scale" in parts:
        scales = scales / _floats(parts["weight_global_scale"])
    if scales.ndim != 2:
        scales = scales.reshape(-1, 1)
    return weight * _spread(scales, linear.shape, quantization.block)


def _scales(stored: StoredTensor) -> Floats:
    """MXFP4 stores powers of two by their exponents, as bytes."""
    if stored.dtype in EXPONENTS:
        exponents = _array(stored, np.dtype(np.uint8)).astype(np.int32) - EXPONENT_BIAS
        return np.ldexp(np.float32(1), exponents).astype(np.float32)
    return _floats(stored)


def _spread(scales: Floats, shape: tuple[int, int], block: tuple[int, int] | None) -> Floats:
    """Scales [a, b] of blocks as one for each weight, or so that they broadcast."""
    for axis, length in enumerate(shape):
        count = scales.shape[axis]
        if count in (1, length):
            continue
        size = block[axis] if block else -(-length // count)
        scales = scales.repeat(size, axis=axis).take(range(length), axis=axis)
    return scales


def _ternary(linear: QuantizedLinear, quantization: Quantization) -> Floats:
    """Four codes a byte, for rows a quarter of the matrix apart; 0, 1, 2 stand for -1, 0, 1."""
    raw = _array(linear.codes, np.dtype(np.uint8))
    codes = np.concatenate([(raw >> shift) & 3 for shift in (0, 2, 4, 6)])
    weight, scale = codes.astype(np.float32) - 1, _floats(linear.scales).reshape(-1, 1)
    return weight / scale if quantization.divides else weight * scale


def _groups(stored: StoredTensor | None, columns: int, count: int, size: int | None) -> Integers:
    """The group of each column; the last of equal ones may be shorter."""
    if stored is not None:
        return _integers(stored)
    size = size if size and size > 0 else -(-columns // count)
    return (np.arange(columns) // size).astype(np.int32)


def unpack(words: Integers, bits: int) -> Integers:
    """Codes int32 [n, words * 32 / bits] of the bit streams in words int32 [n, words]."""
    raw = np.ascontiguousarray(words).view(np.uint32).astype(np.uint64)
    count = words.shape[1] * WORD_BITS // bits
    first = np.arange(count) * bits
    word, shift = first // WORD_BITS, (first % WORD_BITS).astype(np.uint64)
    # A code of 3 bits may go on in the next word; past the last there is nothing to go on.
    after = np.concatenate([raw[:, 1:], np.zeros_like(raw[:, :1])], axis=1)
    pair = raw[:, word] | (after[:, word] << np.uint64(WORD_BITS))
    return ((pair >> shift) & np.uint64((1 << bits) - 1)).astype(np.int32)


def _integers(tensor: StoredTensor) -> Integers:
    kind = {"I8": "<i1", "I64": "<i8"}.get(tensor.dtype, "<i4")
    return _array(tensor, np.dtype(kind)).astype(np.int32)


def _floats(tensor: StoredTensor) -> Floats:
    if tensor.dtype in FP8:
        values: Floats = FP8_VALUES[tensor.dtype][_array(tensor, np.dtype(np.uint8))]
        return values
    return to_float32(_array(tensor, NUMPY_TYPES[tensor.dtype]), tensor.dtype)


def _array(tensor: StoredTensor, kind: np.dtype) -> NDArray:  # type: ignore[type-arg]
    data = np.fromfile(tensor.file, np.uint8, tensor.size_bytes, offset=tensor.start)
    return data.view(kind).reshape(tensor.shape)
