"""The tensor types whose codes our solvers choose."""

from __future__ import annotations

from edgecomp.formats.presets import PRESETS, UNWEIGHTED

VECTOR_TYPES = ("IQ3_S", "IQ3_XXS", "IQ2_S", "IQ2_XS", "IQ2_XXS")
"""Those whose codes are chosen some columns at a time, from a codebook."""

SOLVED_TYPES = (
    "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "IQ4_NL", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K",
    "IQ4_XS", *VECTOR_TYPES, "MXFP4",
)  # fmt: skip
"""Tensor types whose codes our solvers choose (compress/gguf_types.py)."""

ONNX_BLOCKS = (16, 32, 64, 128, 256)
"""Columns of a block of MatMulNBits."""

INTEGER_TYPES = tuple(
    f"{kind}_{block}" for kind in ("INT4", "UINT4", "INT8") for block in ONNX_BLOCKS
)
"""Those of ONNX Runtime's operators and of quantized checkpoints (compress/onnx_grids.py)."""

KEEPS_EXPERTS = "MXFP4_MOE"
"""A preset for sources whose experts are MXFP4 already, which nothing is to round."""


def is_solved(format_name: str) -> bool:
    """Whether our solvers choose the codes of a GGUF format."""
    weighted = format_name in PRESETS and format_name not in (*UNWEIGHTED, KEEPS_EXPERTS)
    return weighted and PRESETS[format_name].base in SOLVED_TYPES
