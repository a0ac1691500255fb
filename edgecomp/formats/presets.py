"""llama.cpp's named mixtures of tensor types (`llama.h`, `enum llama_ftype`), and the types of its
KV cache."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Preset:
    """A named mixture of tensor types. `base` is the type most tensors get."""

    name: str
    ftype: int
    base: str
    needs_importance: bool = False


SOURCE = "source"
"""The format of a file as it is."""

UNWEIGHTED = (SOURCE, "F32", "F16", "BF16", "Q8_0")
"""Formats whose rounding no importance matrix could improve."""

MIXTURE = "mix"
"""The format whose types are chosen tensor by tensor, to fill a number of bytes."""

PRESETS = {
    row.name: row
    for row in (
        Preset("F32", 0, "F32"),
        Preset("F16", 1, "F16"),
        Preset("BF16", 32, "BF16"),
        Preset("Q8_0", 7, "Q8_0"),
        Preset("Q6_K", 18, "Q6_K"),
        Preset("Q5_K_M", 17, "Q5_K"),
        Preset("Q5_K_S", 16, "Q5_K"),
        Preset("Q5_1", 9, "Q5_1"),
        Preset("Q5_0", 8, "Q5_0"),
        Preset("Q4_K_M", 15, "Q4_K"),
        Preset("Q4_K_S", 14, "Q4_K"),
        Preset("Q4_1", 3, "Q4_1"),
        Preset("Q4_0", 2, "Q4_0"),
        Preset("IQ4_NL", 25, "IQ4_NL"),
        Preset("IQ4_XS", 30, "IQ4_XS"),
        Preset("Q3_K_L", 13, "Q3_K"),
        Preset("Q3_K_M", 12, "Q3_K"),
        Preset("Q3_K_S", 11, "Q3_K"),
        Preset("IQ3_M", 27, "IQ3_S"),
        Preset("IQ3_S", 26, "IQ3_S"),
        Preset("IQ3_XS", 22, "IQ3_S", needs_importance=True),
        Preset("IQ3_XXS", 23, "IQ3_XXS", needs_importance=True),
        Preset("Q2_K", 10, "Q2_K"),
        Preset("Q2_K_S", 21, "Q2_K", needs_importance=True),
        Preset("IQ2_M", 29, "IQ2_S", needs_importance=True),
        Preset("IQ2_S", 28, "IQ2_XS", needs_importance=True),
        Preset("IQ2_XS", 20, "IQ2_XS", needs_importance=True),
        Preset("IQ2_XXS", 19, "IQ2_XXS", needs_importance=True),
        Preset("IQ1_M", 31, "IQ1_M", needs_importance=True),
        Preset("IQ1_S", 24, "IQ1_S", needs_importance=True),
        Preset("TQ2_0", 37, "TQ2_0"),
        Preset("TQ1_0", 36, "TQ1_0"),
        Preset("MXFP4_MOE", 38, "MXFP4"),
        # Tensors that have no choice get Q6_K's types.
        Preset(MIXTURE, 18, "Q6_K"),
    )
}


KV_CACHE_TYPES = ("F16", "BF16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0", "IQ4_NL")
"""What llama.cpp stores keys and values in (a quantized V needs flash attention)."""


LLAMA_CACHE_TYPES = {"F16": "f16", "BF16": "bf16", "Q8_0": "q8_0", "Q5_1": "q5_1", "Q5_0": "q5_0",
                     "Q4_1": "q4_1", "Q4_0": "q4_0", "IQ4_NL": "iq4_nl"}  # fmt: skip
