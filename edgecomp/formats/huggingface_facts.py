"""What each format of quantized checkpoints makes of a model; the counterpart of format_facts.

Without kernels of its codes transformers runs the floats that they stand for: as such the weights
are planned, in memory and in time. vLLM and SGLang keep the codes.
"""

from __future__ import annotations

from edgecomp.common.errors import CompressionSettingsInvalid
from edgecomp.formats.expected_loss import expected_divergence
from edgecomp.formats.format_facts import FormatFacts
from edgecomp.formats.huggingface_layouts import (
    HUGGINGFACE_FORMATS,
    huggingface_bytes,
    huggingface_types,
)
from edgecomp.formats.layered_weights import layered_weights
from edgecomp.models.spec import ModelSpec

TOKENIZER_BYTES_PER_TOKEN = 36
"""A token's entry and its merge rule in tokenizer.json, about."""

AS_FLOATS = "Planned for transformers with floats in place of codes: vLLM and SGLang need less."


def huggingface_facts(model: ModelSpec) -> tuple[FormatFacts, ...]:
    """The facts of every such format of `model`."""
    return tuple(_facts(model, name) for name in HUGGINGFACE_FORMATS)


def _facts(model: ModelSpec, name: str) -> FormatFacts:
    floats = {tensor.name: "F32" for tensor in model.tensors}
    try:
        types, excluded = huggingface_types(model, name), None
        stored = huggingface_bytes(model, name)
    except CompressionSettingsInvalid as error:
        types, excluded, stored = floats, str(error), 4 * model.parameters
    return FormatFacts(
        name=name,
        exclusion_reason=excluded,
        types=floats,  # What runs, and needs kernels.
        weights=layered_weights(model, floats),
        file_bytes=stored + TOKENIZER_BYTES_PER_TOKEN * model.vocabulary,
        bits_per_weight=8 * stored / max(model.parameters, 1),
        expected_divergence_nats=expected_divergence(model, types),
        notes=(AS_FLOATS,),
    )
