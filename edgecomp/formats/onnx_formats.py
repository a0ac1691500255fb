"""The formats of ONNX artifacts: precisions, blocks of MatMulNBits, and where they run.

The onnxruntime-genai model builder (0.18) writes float weights, or MatMulNBits with blocks of
symmetric integers and one scale a block (float32 on the CPU, float16 elsewhere). A block that
reaches past the last column is filled up. Integer formats quantize the matrices inside the blocks
and the output head; a tied head serves as the embedding table at 4 bits, at 8 bits the table stays
float beside it. Zero points, and types by matrix, an embedding's among them, are put in by our
exporter.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from edgecomp.common.errors import CompressionSettingsInvalid
from edgecomp.formats.execution_providers import Precision, execution_provider
from edgecomp.models.spec import EMBEDDING, ModelSpec, TensorSpec
from edgecomp.models.tensor_types import TENSOR_TYPES


@dataclass(frozen=True)
class OnnxFormat:
    """One format: what the builder is asked for, and the type most matrices then have."""

    name: str
    precision: Precision
    type: str

    @property
    def block_size(self) -> int | None:
        """Columns of a MatMulNBits block; None for float weights."""
        row = TENSOR_TYPES[self.type]
        return None if row.is_float else row.block_elements

    @property
    def is_solved(self) -> bool:
        """Whether our solvers can choose its codes."""
        return self.precision == "int4"

    @property
    def needs_solver(self) -> bool:
        """Whether only our own rounding makes it."""
        return self.name == ONNX_MIXTURE or TENSOR_TYPES[self.type].zero_points


ONNX_MIXTURE = "onnx-mix"
MIX_TYPES = (
    "INT4_32", "INT4_64", "INT4_128", "UINT4_32", "UINT4_64", "UINT4_128", "INT8_32", "INT8_64",
    "INT8_128",
)  # fmt: skip
"""What a mixture is made of."""

ONNX_FORMATS = {
    row.name: row
    for row in (
        OnnxFormat("onnx-fp32", "fp32", "F32"),
        OnnxFormat("onnx-fp16", "fp16", "F16"),
        OnnxFormat("onnx-int8", "int8", "INT8_32"),
        OnnxFormat("onnx-int4-16", "int4", "INT4_16"),
        OnnxFormat("onnx-int4-32", "int4", "INT4_32"),
        OnnxFormat("onnx-int4-64", "int4", "INT4_64"),
        OnnxFormat("onnx-int4-128", "int4", "INT4_128"),
        OnnxFormat("onnx-int4-256", "int4", "INT4_256"),
        OnnxFormat("onnx-uint4-32", "int4", "UINT4_32"),
        OnnxFormat("onnx-uint4-64", "int4", "UINT4_64"),
        OnnxFormat("onnx-uint4-128", "int4", "UINT4_128"),
        OnnxFormat(ONNX_MIXTURE, "int4", "INT4_32"),
    )
}


def onnx_format(name: str) -> OnnxFormat:
    """The format called `name`. Raises CompressionSettingsInvalid."""
    if name not in ONNX_FORMATS:
        raise CompressionSettingsInvalid(
            f"There is no ONNX format {name!r}. Known: {', '.join(ONNX_FORMATS)}."
        )
    return ONNX_FORMATS[name]


def judged_format(name: str) -> str:
    """The format in which the CPU runs what another provider is given as `name`: it has no
    attention in float16."""
    return "onnx-fp32" if onnx_format(name).precision == "fp16" else name


def onnx_types(
    model: ModelSpec,
    name: str,
    provider: str = "cpu",
    overrides: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The type of every tensor of `model` in a format for a provider, by GGUF name; `overrides`:
    some tensors' own."""
    row = onnx_format(name)
    plain = float_type(row, provider)
    # The factors of scaled rotary positions are worked into the graph's tables.
    kept = [tensor for tensor in model.tensors if not tensor.name.startswith("rope_")]
    own = {t.name: row.type if is_product(t, model) else plain for t in kept}
    return own | {name: kind for name, kind in (overrides or {}).items() if name in own}


def float_type(row: OnnxFormat, provider: str) -> str:
    """The type of scales, activations and all that is not rounded."""
    if row.precision == "fp32":
        return "F32"
    return "F16" if row.precision == "fp16" else execution_provider(provider).float_type


def is_product(tensor: TensorSpec, model: ModelSpec) -> bool:
    """True for a matrix that is multiplied: all but a table that is only looked up in."""
    if tensor.name == EMBEDDING:
        return model.tied_embeddings
    return len(tensor.shape) == 2


def onnx_tensor_bytes(shape: tuple[int, ...], kind: str, scales: str = "F32") -> int:
    """Bytes of one tensor: each row takes whole blocks, each with a scale of the type `scales`; two
    zero points share a byte."""
    row = TENSOR_TYPES[kind]
    rows, columns = math.prod(shape[:-1]), shape[-1]
    blocks = math.ceil(columns / row.block_elements)
    row_bytes = row.size_bytes(columns) - (blocks // 2 if row.zero_points else 0)
    if not row.is_float and scales != "F32":
        row_bytes -= 2 * blocks
    return rows * row_bytes


def onnx_data_bytes(
    model: ModelSpec,
    name: str,
    provider: str = "cpu",
    overrides: Mapping[str, str] | None = None,
) -> int:
    """The size of the external data file: every tensor, the rotary tables and, at 8 bits, the float
    embedding table beside a tied head. `overrides`: some tensors' own types."""
    types = onnx_types(model, name, provider, overrides)
    plain = float_type(onnx_format(name), provider)
    shapes = {tensor.name: tensor.shape for tensor in model.tensors}
    total = sum(onnx_tensor_bytes(shapes[name], kind, plain) for name, kind in types.items())
    total += 2 * TENSOR_TYPES[plain].size_bytes(model.context_length * (model.key_length // 2))
    if onnx_format(name).precision == "int8" and model.tied_embeddings:
        total += TENSOR_TYPES[plain].size_bytes(model.vocabulary * model.embedding_length)
    return total
