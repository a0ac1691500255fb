"""Each GGUF type: the output error that our feedback leaves, over that of llama.cpp's quantizer.

    python benchmarks/type_rounding.py [--model MODEL.gguf] [--rows 512] [TYPE ...]

The error of a matrix W is tr(D H D^T), H = mean x x^T over its inputs x; llama.cpp's quantizer gets
the diagonal of H as its importance. Without a model W is Gaussian and the inputs are correlated;
with one W is its first layer's query projection, and the inputs are what this reads of our own
text: the rows of the embedding, normed. Columns are scaled at random and their inputs the other
way, which moves the weights off their own grid and leaves the function as it is.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import time
from importlib.resources import files
from pathlib import Path

import gguf
import llama_cpp
import numpy as np
import torch
from torch import Tensor

from edgecomp.compress.gguf_types import GGUF_GRIDS
from edgecomp.compress.gptq import gptq
from edgecomp.compress.ldl_factor import ldl_factor
from edgecomp.compress.packed_triangle import PackedTriangle
from edgecomp.compress.rtn import round_to_nearest
from edgecomp.models.float_conversion import float32_pieces
from edgecomp.models.gguf.header import GgufHeader, read_gguf_header
from edgecomp.models.tensor_types import TENSOR_TYPES

COLUMNS, TOKENS = 1536, 8192


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("types", nargs="*", default=list(GGUF_GRIDS))
    parser.add_argument("--model", type=Path)
    parser.add_argument("--rows", type=int, default=512)
    asked = parser.parse_args()
    weight, inputs = read_case(asked.model) if asked.model else random_case(asked.rows)
    weight = weight[: asked.rows].contiguous()
    hessian = inputs.T @ inputs / len(inputs)
    print(f"{len(weight)} x {weight.shape[1]} weights, {len(inputs)} inputs\n")
    print("| type | bits | nearest, ours / llama.cpp | feedback / llama.cpp | error left | "
          "seconds: feedback | llama.cpp |")  # fmt: skip
    print("|---|---|---|---|---|---|---|")
    for kind in asked.types:
        print(row_of(kind, weight, hessian), flush=True)


def row_of(kind: str, weight: Tensor, hessian: Tensor) -> str:
    grid, importance = GGUF_GRIDS[kind], hessian.diagonal().contiguous()
    # The first call builds tables.
    by_llama_cpp(weight[:1], kind, importance)
    round_to_nearest(weight[:1], grid)
    rounded = round_to_nearest(weight, grid, importance).values
    started = time.process_time()
    solved = gptq(weight, ldl_factor(triangle(hessian), "the matrix"), grid).values
    ours = time.process_time() - started
    started = time.process_time()
    theirs = by_llama_cpp(weight, kind, importance)
    seconds = time.process_time() - started

    def error(values: Tensor) -> float:
        change = (values - weight).double()
        return float((change @ hessian.double() * change).sum())

    reference, whole = error(theirs), error(torch.zeros_like(weight))
    return (
        f"| {kind} | {TENSOR_TYPES[kind].bits_per_weight:.2f} | {error(rounded) / reference:.2f} | "
        f"{error(solved) / reference:.2f} | {error(solved) / whole:.2e} | {ours:.1f} | "
        f"{seconds:.1f} |"
    )


def by_llama_cpp(weight: Tensor, kind: str, importance: Tensor) -> Tensor:
    """The values that llama.cpp's quantizer rounds weight [rows, columns] to."""
    spec = importlib.util.find_spec("llama_cpp")
    assert spec is not None and spec.origin is not None
    library = ctypes.CDLL(str(next((Path(spec.origin).parent / "lib").glob("libggml-base.*"))))
    library.ggml_quantize_chunk.argtypes = [
        ctypes.c_int, *[ctypes.c_void_p] * 2, *[ctypes.c_int64] * 3, ctypes.c_void_p,
    ]  # fmt: skip
    rows, columns = weight.shape
    row = TENSOR_TYPES[kind]
    packed = np.zeros((rows, row.size_bytes(columns)), np.uint8)
    library.ggml_quantize_chunk(
        row.ggml_id, weight.data_ptr(), packed.ctypes.data, 0, rows, columns, importance.data_ptr()
    )
    return torch.from_numpy(gguf.dequantize(packed, gguf.GGMLQuantizationType[kind]))


def triangle(hessian: Tensor) -> PackedTriangle:
    packed = PackedTriangle(len(hessian), hessian)
    for part, panel in packed:
        panel.copy_(hessian[part, part.start :])
    return packed


def random_case(rows: int) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    mix = torch.randn(COLUMNS, COLUMNS, generator=random) / COLUMNS**0.5
    scale = torch.rand(COLUMNS, generator=random).square() * 2
    inputs = torch.randn(TOKENS, COLUMNS, generator=random) @ (mix + 0.3 * torch.eye(COLUMNS))
    return torch.randn(rows, COLUMNS, generator=random) * 0.05, inputs * scale


def read_case(path: Path) -> tuple[Tensor, Tensor]:
    """The first layer's query projection of a model, and its inputs over our own text."""
    header = read_gguf_header(path)
    text = files("edgecomp.evaluate").joinpath("own_text.txt").read_bytes()
    model = llama_cpp.Llama(str(path), vocab_only=True, verbose=False)
    tokens = model.tokenize(text)[:TOKENS]
    model.close()
    rows = stored(header, "token_embd.weight")[tokens]
    normed = rows / (rows.square().mean(dim=1, keepdim=True) + 1e-6).sqrt()
    weight = stored(header, "blk.0.attn_q.weight")
    scale = 0.8 + 0.4 * torch.rand(weight.shape[1], generator=torch.Generator().manual_seed(0))
    return weight * scale, normed * stored(header, "blk.0.attn_norm.weight") / scale


def stored(header: GgufHeader, name: str) -> Tensor:
    row = next(tensor for tensor in header.tensors if tensor.name == name)
    values = np.concatenate([piece.ravel() for piece in float32_pieces(header, row)])
    return torch.from_numpy(values).view(row.shape)


if __name__ == "__main__":
    main()
