"""Checkpoints as AutoGPTQ, AutoAWQ, compressed-tensors, OpenAI and DeepSeek write them, packed by
plain loops."""

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


MXFP4_VALUES = (0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6)


def write_mxfp4(source: Path, folder: Path) -> None:
    """gpt-oss's layout: fused experts as blocks of 32 codes with a power of two each, columns
    first, and everything else in bfloat16."""
    shutil.copytree(source, folder)
    table = torch.tensor(MXFP4_VALUES)
    tensors = {}
    for name, values in load_file(source / "model.safetensors").items():
        if not name.endswith(("experts.gate_up_proj", "experts.down_proj")):
            tensors[name] = values.to(torch.bfloat16)
            continue
        blocks = values.transpose(1, 2).unflatten(-1, (-1, 32))
        power = torch.floor(torch.log2(blocks.abs().amax(-1))) - 2
        scaled = blocks / torch.exp2(power)[..., None]
        codes = (scaled[..., None] - table).abs().argmin(-1).to(torch.uint8)
        tensors[f"{name}_blocks"] = (codes[..., ::2] | (codes[..., 1::2] << 4)).contiguous()
        tensors[f"{name}_scales"] = (power + 127).to(torch.uint8)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    kept = ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens"]
    method = {"quant_method": "mxfp4", "modules_to_not_convert": [*kept, "lm_head"]}
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": method}))


def write_fp8(source: Path, folder: Path, block: int = 128) -> dict[str, Tensor]:
    """DeepSeek's layout: linears in FP8 with a scale for each block of rows and columns. Returns
    the values that they stand for, float32 by weight."""
    shutil.copytree(source, folder)
    tensors, stood_for = {}, {}
    for name, values in load_file(source / "model.safetensors").items():
        if not name.endswith("_proj.weight"):
            tensors[name] = values
            continue
        parts = values.unflatten(0, (-1, block)).unflatten(-1, (-1, block))
        scales = parts.abs().amax((1, 3)) / 448
        codes = (parts / scales[:, None, :, None]).to(torch.float8_e4m3fn)
        stood_for[name] = (codes.float() * scales[:, None, :, None]).reshape(values.shape)
        tensors[name] = codes.reshape(values.shape)
        tensors[f"{name}_scale_inv"] = scales
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    method = {"quant_method": "fp8", "weight_block_size": [block, block]}
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": method}))
    return stood_for
