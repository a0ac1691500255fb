"""What each ONNX format makes of a model, whatever the device; the counterpart of format_facts."""

from __future__ import annotations

from collections.abc import Mapping

from edgecomp.common.errors import CompressionSettingsInvalid
from edgecomp.formats.execution_providers import execution_provider, with_operator
from edgecomp.formats.expected_loss import expected_divergence
from edgecomp.formats.format_facts import FormatFacts
from edgecomp.formats.layered_weights import layered_weights
from edgecomp.formats.onnx_formats import (
    ONNX_FORMATS,
    ONNX_MIXTURE,
    OnnxFormat,
    float_type,
    onnx_data_bytes,
    onnx_format,
    onnx_types,
)
from edgecomp.formats.onnx_mixture import OnnxMixture
from edgecomp.models.spec import ModelSpec
from edgecomp.models.tensor_types import TENSOR_TYPES

GRAPH_BYTES, LAYER_GRAPH_BYTES = 9_000, 7_200
"""Size of the graph without its weights, as the builder writes it: fixed, and for each layer."""

NO_EXPERTS = (
    "Mixtures of experts are made as ONNX by plain operators only, for the CPU: edgecomp compress "
    "MODEL --format onnx-optimum-int8."
)
TOKENIZER_BYTES_PER_TOKEN = 36
"""A token's entry and its merge rule in tokenizer.json, about."""


def onnx_facts(model: ModelSpec, provider: str = "cpu") -> tuple[FormatFacts, ...]:
    """The facts of every ONNX format of `model` for an execution provider; for the CPU's, the
    smallest mixture last. Raises CompressionSettingsInvalid for a provider that is none."""
    rows = [
        _facts(model, row, provider, {})
        for name, row in ONNX_FORMATS.items()
        if name != ONNX_MIXTURE
    ]
    mixture = OnnxMixture(model)
    if mixture.shared and provider == "cpu":
        rows.append(facts_of_onnx_types(model, ONNX_MIXTURE, mixture.smallest_types))
    return tuple(rows)


def facts_of_onnx_types(model: ModelSpec, name: str, types: Mapping[str, str]) -> FormatFacts:
    """The facts of an ONNX format for the CPU in which some tensors have other types."""
    return _facts(model, onnx_format(name), "cpu", types)


def onnx_artifact_bytes(
    model: ModelSpec, name: str, provider: str = "cpu", types: Mapping[str, str] | None = None
) -> int:
    """Size of the whole folder: the external data is exact, the graph and the tokenizer are not.
    `types`: some tensors' own."""
    graph = GRAPH_BYTES + model.layers * LAYER_GRAPH_BYTES
    data = onnx_data_bytes(model, name, provider, types)
    return data + graph + TOKENIZER_BYTES_PER_TOKEN * model.vocabulary


def require_onnx_format(model: ModelSpec, name: str, provider: str = "cpu") -> None:
    """Raises CompressionSettingsInvalid where an execution provider cannot run `model` in the
    format `name`, naming the nearest that it can."""
    facts = {row.name: row for row in onnx_facts(model, provider)}
    reason = facts[name].exclusion_reason
    if reason is None:
        return
    usable = [
        row for row in facts.values() if row.exclusion_reason is None and row.name != ONNX_MIXTURE
    ]
    if not usable:
        raise CompressionSettingsInvalid(f"{name} of {model.name}: {reason} Choose a GGUF format.")
    bits = facts[name].bits_per_weight
    nearest = min(usable, key=lambda row: abs(row.bits_per_weight - bits))
    raise CompressionSettingsInvalid(f"{name} of {model.name}: {reason} Choose {nearest.name}.")


def _facts(
    model: ModelSpec, row: OnnxFormat, provider: str, overrides: Mapping[str, str]
) -> FormatFacts:
    plain = float_type(row, provider)
    types = {tensor.name: plain for tensor in model.tensors}
    types |= onnx_types(model, row.name, provider, overrides)
    weights = layered_weights(model, types)
    data = onnx_data_bytes(model, row.name, provider, overrides)
    size = onnx_artifact_bytes(model, row.name, provider, overrides)
    return FormatFacts(
        name=row.name,
        exclusion_reason=_senseless(model, row, types, provider),
        types=types,
        weights=weights,
        file_bytes=size,
        bits_per_weight=8 * data / max(model.parameters, 1),
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
    if provider != "cpu" and TENSOR_TYPES[row.type].zero_points:
        return f"Zero points are put in for the CPU's kernels only, not for {target.title}."
    if row.name == ONNX_MIXTURE:
        return None
    block = row.block_size
    matrices = [tensor for tensor in model.tensors if types[tensor.name] == row.type]
    if block and any(tensor.shape[-1] % block for tensor in matrices):
        return f"Its matrices' columns do not divide by blocks of {block}."
    return None
