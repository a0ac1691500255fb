"""Checkpoints as AutoGPTQ, AutoAWQ, compressed-tensors, OpenAI, DeepSeek, NVIDIA and BitNet write
them, packed by plain loops."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

Rounded = tuple[Tensor, Tensor, Tensor]
"""Codes and zero points (unsigned), scales: [rows, columns], [rows, groups], [rows, groups]."""

FP4_VALUES = torch.tensor((0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6))
AWQ_COLUMNS = (0, 2, 4, 6, 1, 3, 5, 7)


def rounded(weight: Tensor, bits: int, group: int, symmetric: bool) -> Rounded:
    """Round to nearest with float16 scales."""
    top = (1 << bits) - 1
    codes, zeros, scales = [], [], []
    for part in weight.float().split(group, dim=1):
        low, high = part.amin(1, keepdim=True).clamp_max(0), part.amax(1, keepdim=True).clamp_min(0)
        if symmetric:
            scale = (2 * part.abs().amax(1, keepdim=True) / top).half().float()
            zero = torch.full_like(scale, 1 << (bits - 1))
        else:
            scale = ((high - low) / top).half().float()
            zero = (-low / scale).round().clamp(0, top)
        codes.append((part / scale + zero).round().clamp(0, top))
        zeros.append(zero)
        scales.append(scale)
    return torch.cat(codes, 1).int(), torch.cat(zeros, 1).int(), torch.cat(scales, 1)


def values(made: Rounded, group: int) -> Tensor:
    codes, zeros, scales = made
    column = torch.arange(codes.shape[1]) // group
    return (codes - zeros[:, column]).float() * scales[:, column]


def packed(codes: Tensor, bits: int) -> Tensor:
    """Each row's codes one after another, the first in the lowest bits, as int32 words."""
    rows = []
    for row in codes.tolist():
        stream = sum(code << (bits * index) for index, code in enumerate(row))
        words = [(stream >> (32 * i)) & 0xFFFFFFFF for i in range(len(row) * bits // 32)]
        rows.append([word - (1 << 32) if word >> 31 else word for word in words])
    return torch.tensor(rows, dtype=torch.int32)


def gptq_parts(made: Rounded, bits: int, group: int, shift: int = 1) -> dict[str, Tensor]:
    codes, zeros, scales = made
    return {
        "qweight": packed(codes, bits).T,
        "qzeros": packed(((zeros - shift) & ((1 << bits) - 1)).T, bits),
        "scales": scales.T.half(),
        "g_idx": (torch.arange(codes.shape[1]) // group).int(),
    }


def awq_parts(made: Rounded, bits: int, group: int) -> dict[str, Tensor]:
    def order(x: Tensor) -> Tensor:
        return x.view(len(x), -1, 8)[..., list(AWQ_COLUMNS)].reshape(x.shape)

    codes, zeros, scales = made
    return {
        "qweight": packed(order(codes.T.contiguous()), 4),
        "qzeros": packed(order(zeros.T.contiguous()), 4),
        "scales": scales.T.half(),
    }


def packed_parts(made: Rounded, bits: int, group: int) -> dict[str, Tensor]:
    codes, zeros, scales = made
    parts = {
        "weight_packed": packed(codes, bits),
        "weight_scale": scales.half(),
        "weight_shape": torch.tensor(codes.shape),
    }
    if (zeros != 1 << (bits - 1)).any():
        parts["weight_zero_point"] = packed(zeros.T.contiguous(), bits).T
    return parts


def int8_parts(made: Rounded, bits: int, group: int) -> dict[str, Tensor]:
    codes, _, scales = made
    return {"weight": (codes - 128).to(torch.int8), "weight_scale": scales.bfloat16().half()}


def write_quantized(
    source: Path,
    folder: Path,
    config: dict[str, object],
    parts_of: Callable[[Rounded, int, int], dict[str, Tensor]],
    bits: int = 4,
    group: int = 32,
    symmetric: bool = False,
) -> dict[str, Tensor]:
    """Write `source` with its blocks' linears quantized; returns the values they stand for."""
    shutil.copytree(source, folder)
    said = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(said | {"quantization_config": config}))
    tensors, stand_for = {}, {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        if "_proj." not in name or tensor.ndim != 2:
            tensors[name] = tensor.half()
            continue
        made = rounded(tensor, bits, group, symmetric)
        stand_for[name] = values(made, group)
        prefix = name.removesuffix("weight")
        for part, value in parts_of(made, bits, group).items():
            tensors[prefix + part] = value.contiguous()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return stand_for


def write_mxfp4(source: Path, folder: Path) -> None:
    """gpt-oss's layout: fused experts as blocks of 32 codes with a power of two each, columns
    first, and everything else in bfloat16."""
    shutil.copytree(source, folder)
    tensors = {}
    for name, values in load_file(source / "model.safetensors").items():
        if not name.endswith(("experts.gate_up_proj", "experts.down_proj")):
            tensors[name] = values.to(torch.bfloat16)
            continue
        blocks = values.transpose(1, 2).unflatten(-1, (-1, 32))
        power = torch.floor(torch.log2(blocks.abs().amax(-1))) - 2
        scaled = blocks / torch.exp2(power)[..., None]
        codes = (scaled[..., None] - FP4_VALUES).abs().argmin(-1).to(torch.uint8)
        tensors[f"{name}_blocks"] = (codes[..., ::2] | (codes[..., 1::2] << 4)).contiguous()
        tensors[f"{name}_scales"] = (power + 127).to(torch.uint8)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    kept = ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens"]
    method = {"quant_method": "mxfp4", "modules_to_not_convert": [*kept, "lm_head"]}
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": method}))


PartsAndValues = tuple[dict[str, Tensor], Tensor]


def write_small_codes(
    source: Path,
    folder: Path,
    config: dict[str, object],
    parts_of: Callable[[Tensor], PartsAndValues],
) -> dict[str, Tensor]:
    """Write `source` with its blocks' linears as `parts_of` stores them; returns the values they
    stand for."""
    shutil.copytree(source, folder)
    tensors, stood_for = {}, {}
    for name, weight in load_file(source / "model.safetensors").items():
        if not name.endswith("_proj.weight"):
            tensors[name] = weight
            continue
        parts, stood_for[name] = parts_of(weight.float())
        prefix = name.removesuffix("weight")
        tensors |= {prefix + part: value.contiguous() for part, value in parts.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    said = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(said | {"quantization_config": config}))
    return stood_for


def block_fp8_parts(weight: Tensor, block: int = 128) -> PartsAndValues:
    """DeepSeek's: a scale for each block of rows and columns; the last ones may be smaller."""
    rows = [part.split(block, 1) for part in weight.split(block)]
    scales = torch.stack([torch.stack([x.abs().amax() / 448 for x in row]) for row in rows])
    spread = scales.repeat_interleave(block, 0).repeat_interleave(block, 1)
    spread = spread[: weight.shape[0], : weight.shape[1]]
    codes = (weight / spread).to(torch.float8_e4m3fn)
    return {"weight": codes, "weight_scale_inv": scales}, codes.float() * spread


def row_fp8_parts(weight: Tensor) -> PartsAndValues:
    """compressed-tensors': a scale for each row."""
    scales = weight.abs().amax(1, keepdim=True) / 448
    codes = (weight / scales).to(torch.float8_e4m3fn)
    return {"weight": codes, "weight_scale": scales}, codes.float() * scales


def whole_fp8_parts(weight: Tensor) -> PartsAndValues:
    """ModelOpt's: one scale for all, and one for the inputs."""
    scale = weight.abs().amax() / 448
    codes = (weight / scale).to(torch.float8_e4m3fn)
    parts = {"weight": codes, "weight_scale": scale, "input_scale": torch.tensor(0.5)}
    return parts, codes.float() * scale


def _fp4(weight: Tensor, scales: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """Codes, two to a byte, and values, for scales [rows, blocks]."""
    spread = scales.repeat_interleave(block, 1)
    codes = ((weight / spread)[..., None] - FP4_VALUES).abs().argmin(-1).to(torch.uint8)
    return codes[:, ::2] | (codes[:, 1::2] << 4), FP4_VALUES[codes.long()] * spread


def nvfp4_parts(weight: Tensor, *, modelopt: bool = False) -> PartsAndValues:
    """FP4 with an FP8 scale for each 16 columns, under one scale for all: multiplied by ModelOpt,
    divided by in compressed-tensors."""
    highest = weight.unflatten(1, (-1, 16)).abs().amax(-1) / 6
    whole = highest.max() / 448
    scales = (highest / whole).to(torch.float8_e4m3fn)
    if modelopt:
        packed, values = _fp4(weight, scales.float() * whole, 16)
        return {"weight": packed, "weight_scale": scales, "weight_scale_2": whole}, values
    divisor = (1 / whole).reshape(1)
    packed, values = _fp4(weight, scales.float() / divisor, 16)
    parts = {"weight_packed": packed, "weight_scale": scales, "weight_global_scale": divisor}
    return parts | {"input_global_scale": torch.ones(1)}, values


def mxfp4_parts(weight: Tensor) -> PartsAndValues:
    """FP4 with a power of two for each 32 columns, stored by its exponent."""
    power = torch.floor(torch.log2(weight.unflatten(1, (-1, 32)).abs().amax(-1))) - 2
    packed, values = _fp4(weight, torch.exp2(power), 32)
    return {"weight_packed": packed, "weight_scale": (power + 127).to(torch.uint8)}, values


def ternary_parts(weight: Tensor, *, divides: bool) -> PartsAndValues:
    """BitNet's: -1, 0 and 1 by one scale; a byte holds four rows, a quarter of them apart."""
    mean = weight.abs().mean()
    codes = (weight / mean).round().clamp(-1, 1)
    quarters = (codes + 1).to(torch.uint8).chunk(4)
    packed = sum((quarter << (2 * i) for i, quarter in enumerate(quarters)), torch.tensor(0))
    scale = 1 / mean if divides else mean
    values = codes / scale if divides else codes * scale
    return {"weight": packed.to(torch.uint8), "weight_scale": scale.reshape(1)}, values
