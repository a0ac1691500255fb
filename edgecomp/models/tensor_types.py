"""One table of tensor types: bits per weight, block and column rule.

Sizes are those of ggml (`ggml-common.h`) and agree with `gguf.GGML_QUANT_SIZES`, which a test
checks. A *tensor type* is how one tensor is stored; a *preset* is a named mixture of them
(formats/presets.py). The types of ONNX Runtime's
MatMulNBits stand in the same table; its formats are in formats/onnx_formats.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

NOT_GGML = -1


@dataclass(frozen=True)
class TensorType:
    """How one tensor's numbers are stored: blocks of `block_elements` in `block_bytes` bytes."""

    name: str
    ggml_id: int
    block_elements: int
    block_bytes: int
    relative_error: float = 0.0
    """Mean squared rounding error over mean square, of Gaussian weights through llama.cpp's own
    quantizer without importance (a test measures it again); of ONNX Runtime's types through our
    own rounding to nearest."""

    fallback: str | None = None
    """The type llama.cpp's quantizer takes where the columns do not divide by the block."""

    needs_importance: bool = False
    """True where llama.cpp's quantizer refuses to work without an importance matrix."""

    zero_points: bool = False
    """Whether a block has a zero point: a byte here, half of one in an ONNX file."""

    @property
    def bits_per_weight(self) -> float:
        return 8 * self.block_bytes / self.block_elements

    @property
    def is_float(self) -> bool:
        return self.block_elements == 1

    def size_bytes(self, elements: int) -> int:
        """Bytes of `elements` numbers in whole blocks."""
        return -(-elements // self.block_elements) * self.block_bytes


TENSOR_TYPES = {
    row.name: row
    for row in (
        TensorType("F32", 0, 1, 4),
        TensorType("F16", 1, 1, 2),
        TensorType("BF16", 30, 1, 2),
        TensorType("Q4_0", 2, 32, 18, 7.4e-3),
        TensorType("Q4_1", 3, 32, 20, 6.1e-3),
        TensorType("Q5_0", 6, 32, 22, 1.8e-3),
        TensorType("Q5_1", 7, 32, 24, 1.4e-3),
        TensorType("Q8_0", 8, 32, 34, 2.9e-5),
        TensorType("Q8_1", 9, 32, 40),
        TensorType("Q2_K", 10, 256, 84, 8.8e-2, "Q4_0"),
        TensorType("Q3_K", 11, 256, 110, 2.3e-2, "Q4_0"),
        TensorType("Q4_K", 12, 256, 144, 5.1e-3, "Q5_0"),
        TensorType("Q5_K", 13, 256, 176, 1.3e-3, "Q5_1"),
        TensorType("Q6_K", 14, 256, 210, 3.1e-4, "Q8_0"),
        TensorType("Q8_K", 15, 256, 292),
        TensorType("IQ2_XXS", 16, 256, 66, 1.2e-1, "IQ4_NL", needs_importance=True),
        TensorType("IQ2_XS", 17, 256, 74, 9.0e-2, "IQ4_NL", needs_importance=True),
        TensorType("IQ3_XXS", 18, 256, 98, 3.3e-2, "IQ4_NL", needs_importance=True),
        TensorType("IQ1_S", 19, 256, 50, 2.4e-1, "IQ4_NL", needs_importance=True),
        TensorType("IQ4_NL", 20, 32, 18, 5.8e-3),
        TensorType("IQ3_S", 21, 256, 110, 2.8e-2, "IQ4_NL"),
        TensorType("IQ2_S", 22, 256, 82, 6.2e-2, "IQ4_NL", needs_importance=True),
        TensorType("IQ4_XS", 23, 256, 136, 5.9e-3, "IQ4_NL"),
        TensorType("IQ1_M", 29, 256, 56, 2.0e-1, "IQ4_NL", needs_importance=True),
        TensorType("TQ1_0", 34, 256, 54, 6.5e-1, "Q4_0"),
        TensorType("TQ2_0", 35, 256, 66, 6.5e-1, "Q4_0"),
        TensorType("MXFP4", 39, 32, 17, 1.3e-2),
        TensorType("NVFP4", 40, 64, 36),
        TensorType("Q1_0", 41, 128, 18),
        TensorType("I8", 24, 1, 1),
        TensorType("I16", 25, 1, 2),
        TensorType("I32", 26, 1, 4),
        TensorType("I64", 27, 1, 8),
        TensorType("F64", 28, 1, 8),
        TensorType("INT4_16", NOT_GGML, 16, 12, 4.9e-3),
        TensorType("INT4_32", NOT_GGML, 32, 20, 6.6e-3),
        TensorType("INT4_64", NOT_GGML, 64, 36, 8.1e-3),
        TensorType("INT4_128", NOT_GGML, 128, 68, 9.4e-3),
        TensorType("INT4_256", NOT_GGML, 256, 132, 1.03e-2),
        TensorType("UINT4_16", NOT_GGML, 16, 13, 4.2e-3, zero_points=True),
        TensorType("UINT4_32", NOT_GGML, 32, 21, 6.0e-3, zero_points=True),
        TensorType("UINT4_64", NOT_GGML, 64, 37, 7.7e-3, zero_points=True),
        TensorType("UINT4_128", NOT_GGML, 128, 69, 9.2e-3, zero_points=True),
        TensorType("UINT4_256", NOT_GGML, 256, 133, 1.03e-2, zero_points=True),
        TensorType("INT8_16", NOT_GGML, 16, 20, 1.8e-5),
        TensorType("INT8_32", NOT_GGML, 32, 36, 2.5e-5),
        TensorType("INT8_64", NOT_GGML, 64, 68, 3.2e-5),
        TensorType("INT8_128", NOT_GGML, 128, 132, 3.9e-5),
        TensorType("INT8_256", NOT_GGML, 256, 260, 4.6e-5),
    )
}
TENSOR_TYPES_BY_ID = {row.ggml_id: row for row in TENSOR_TYPES.values() if row.ggml_id != NOT_GGML}


def usable_types(types: Iterable[str], columns: int) -> list[str]:
    """Those of `types` whose blocks divide a row of `columns` weights."""
    return [kind for kind in types if columns % TENSOR_TYPES[kind].block_elements == 0]
