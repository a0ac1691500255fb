"""What each ONNX format makes of a model, whatever the device; the counterpart of format_facts."""

from __future__ import annotations

from edgecomp.common.errors import CompressionSettingsInvalid
from edgecomp.formats.execution_providers import execution_provider, with_operator
from edgecomp.formats.expected_loss import expected_divergence
from edgecomp.formats.format_facts import FormatFacts
from edgecomp.formats.layered_weights import layered_weights
from edgecomp.formats.onnx_formats import (
    ONNX_FORMATS,
    OnnxFormat,
    float_type,
    onnx_data_bytes,
    onnx_types,
)
from edgecomp.models.spec import ModelSpec

GRAPH_BYTES, LAYER_GRAPH_BYTES = 9_000, 7_200
"""Size of the graph without its weights, as the builder writes it: fixed, and for each layer."""

NO_EXPERTS = "Mixtures of experts are not made as ONNX here."
TOKENIZER_BYTES_PER_TOKEN = 36
"""A token's entry and its merge rule in tokenizer.json, about."""


def onnx_facts(model: ModelSpec, provider: str = "cpu") -> tuple[FormatFacts, ...]:
    """The facts of every ONNX format of `model` for an execution provider. Raises
    CompressionSettingsInvalid for a provider that is none."""
    return tuple(_facts(model, row, provider) for row in ONNX_FORMATS.values())


def onnx_artifact_bytes(model: ModelSpec, name: str, provider: str = "cpu") -> int:
    """Size of the whole folder: the external data is exact, the graph and the tokenizer are not."""
    graph = GRAPH_BYTES + model.layers * LAYER_GRAPH_BYTES
    return (
        onnx_data_bytes(model, name, provider)
        + graph
        + TOKENIZER_BYTES_PER_TOKEN * model.vocabulary
    )


def require_onnx_format(model: ModelSpec, name: str, provider: str = "cpu") -> None:
    """Raises CompressionSettingsInvalid where an execution provider cannot run `model` in the
    format `name`, naming the nearest that it can."""
    facts = {row.name: row for row in onnx_facts(model, provider)}
    reason = facts[name].exclusion_reason
    if reason is None:
        return
    usable = [row for row in facts.values() if row.exclusion_reason is None]
    if not usable:
        raise CompressionSettingsInvalid(f"{name} of {model.name}: {reason} Choose a GGUF format.")
    bits = facts[name].bits_per_weight
    nearest = min(usable, key=lambda row: abs(row.bits_per_weight - bits))
    raise CompressionSettingsInvalid(f"{name} of {model.name}: {reason} Choose {nearest.name}.")


def _facts(model: ModelSpec, row: OnnxFormat, provider: str) -> FormatFacts:
    plain = float_type(row, provider)
    types = {tensor.name: plain for tensor in model.tensors}
    types |= onnx_types(model, row.name, provider)
    weights = layered_weights(model, types)
    size = onnx_artifact_bytes(model, row.name, provider)
    return FormatFacts(
        name=row.name,
        exclusion_reason=_senseless(model, row, types, provider),
        types=types,
        weights=weights,
        file_bytes=size,
        bits_per_weight=8 * onnx_data_bytes(model, row.name, provider) / max(model.parameters, 1),
        expected_divergence_nats=expected_divergence(model, types),
        notes=(),
    )


def _senseless(
    model: ModelSpec, row: OnnxFormat, types: dict[str, str], provider: str
) -> str | None:
    if model.experts:
        return f"{NO_EXPERTS} Their operator QMoE is in {', '.join(with_operator('QMoE'))}."
    target = execution_provider(provider)
    if provider == "cpu" and row.precision == "fp16":
        return "ONNX Runtime's CPU provider has no attention in float16."
    if row.precision not in target.precisions:
        return f"{target.title} computes no products of {row.precision}."
    block = row.block_size
    matrices = [tensor for tensor in model.tensors if types[tensor.name] == row.type]
    if block and any(tensor.shape[-1] % block for tensor in matrices):
        return f"Its matrices' columns do not divide by blocks of {block}."
    return None
