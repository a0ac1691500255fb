"""What each format makes of a model, whatever the device: types, size, expected loss, sense."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from edgecomp.common.errors import ArchitectureUnsupported, ExportRefused, ModelIncomplete
from edgecomp.formats.expected_loss import error_worths, expected_divergence
from edgecomp.formats.exporting import find_gguf_exporter
from edgecomp.formats.gguf_mix import fallbacks, mixed_types
from edgecomp.formats.layered_weights import LayeredWeights, layered_weights
from edgecomp.formats.mixture import Mixture
from edgecomp.formats.presets import MIXTURE, PRESETS, SOURCE, UNWEIGHTED, Preset
from edgecomp.models.gguf.size import gguf_file_bytes
from edgecomp.models.spec import ModelSpec
from edgecomp.models.tensor_types import TENSOR_TYPES

GUESSED_HEADER_BYTES_PER_TOKEN = 40
"""A token's text, type and score, and its merge rule."""


@dataclass(frozen=True)
class FormatFacts:
    """One format of one model. `exclusion_reason`: why it is no candidate anywhere, or None."""

    name: str
    exclusion_reason: str | None
    types: Mapping[str, str]
    weights: LayeredWeights
    file_bytes: int
    bits_per_weight: float
    expected_divergence_nats: float
    notes: tuple[str, ...]
    mixture: Mixture | None = None
    """Where the types are to be chosen by what there is room for: `types` are then the smallest."""

    @cached_property
    def matrix_types(self) -> frozenset[str]:
        """The types that need kernels of their own; every processor has F32's."""
        return frozenset(self.types.values()) - {"F32"}


def format_facts(model: ModelSpec) -> tuple[FormatFacts, ...]:
    """The facts of every format of `model`: the source as it is first where it is a GGUF, the
    mixture last."""
    mixture = mixture_of(model)
    seen: dict[tuple[str, ...], str] = {}
    names = ([SOURCE] if model.source == "gguf" else []) + [n for n in PRESETS if n != MIXTURE]
    rows = []
    for name in names:
        types = tensor_types_of(model, name, importance=name not in UNWEIGHTED)
        row = _facts(model, name, types, mixture.header_bytes, mixture.worths)
        senseless = None if name == SOURCE else _senseless(model, PRESETS[name], types, seen)
        rows.append(replace(row, exclusion_reason=senseless))
    if mixture.choices:
        smallest = mixture_facts(mixture, mixture.frontier().within(0))
        rows.append(replace(smallest, mixture=mixture))
    return tuple(rows)


def mixture_of(model: ModelSpec) -> Mixture:
    """All mixtures of `model`."""
    own = tensor_types_of(model, MIXTURE)
    return Mixture(model, _header_bytes(model), error_worths(model), own)


def mixture_facts(mixture: Mixture, types: Mapping[str, str]) -> FormatFacts:
    """The facts of the mixture that gives some tensors these types."""
    all_types = {**mixture.own_types, **types}
    return _facts(mixture.model, MIXTURE, all_types, mixture.header_bytes, mixture.worths)


def facts_of_types(model: ModelSpec, name: str, overrides: Mapping[str, str]) -> FormatFacts:
    """The facts of a format of `model` in which some tensors have other types."""
    types = tensor_types_of(model, name, importance=name not in UNWEIGHTED, overrides=overrides)
    return _facts(model, name, types, _header_bytes(model), error_worths(model))


def _facts(
    model: ModelSpec,
    name: str,
    types: Mapping[str, str],
    header_bytes: int,
    worths: Mapping[str, float],
) -> FormatFacts:
    model = model.as_stored if name == SOURCE else model
    weights = layered_weights(model, types)
    return FormatFacts(
        name=name,
        exclusion_reason=None,
        types=types,
        weights=weights,
        file_bytes=model.file_bytes if name == SOURCE else _file_bytes(model, types, header_bytes),
        bits_per_weight=8 * weights.stored_bytes / max(model.parameters, 1),
        expected_divergence_nats=expected_divergence(model, types, worths),
        notes=() if name in (SOURCE, MIXTURE) else _notes(model, PRESETS[name], types),
    )


def tensor_types_of(
    model: ModelSpec,
    format_name: str,
    overrides: Mapping[str, str] | None = None,
    *,
    importance: bool = True,
) -> dict[str, str]:
    """The type of every tensor of `model` in a format; `source` keeps each as it is.

    `overrides` maps tensor names to types.
    """
    if format_name == SOURCE:
        return {tensor.name: tensor.dtype for tensor in model.as_stored.tensors}
    patterns = {f"^{re.escape(name)}$": kind for name, kind in (overrides or {}).items()}
    return mixed_types(model, PRESETS[format_name], importance=importance, overrides=patterns)


def planned_file_bytes(model: ModelSpec, format_name: str, types: Mapping[str, str]) -> int:
    """Size of the file of a format whose tensors have `types`."""
    if format_name == SOURCE:
        return model.file_bytes
    return _file_bytes(model, types, _header_bytes(model))


def _file_bytes(model: ModelSpec, types: Mapping[str, str], header_bytes: int) -> int:
    tensors = [(tensor.elements, types[tensor.name]) for tensor in model.tensors]
    return gguf_file_bytes(header_bytes, tensors)


def _header_bytes(model: ModelSpec) -> int:
    """Size of the GGUF file's header: exact where it can be written, else guessed from the
    vocabulary."""
    try:
        return find_gguf_exporter().expected_header_size_bytes(model)
    except (ArchitectureUnsupported, ExportRefused, ModelIncomplete):
        return GUESSED_HEADER_BYTES_PER_TOKEN * model.vocabulary


def _senseless(
    model: ModelSpec, preset: Preset, types: Mapping[str, str], seen: dict[tuple[str, ...], str]
) -> str | None:
    if preset.base in ("TQ1_0", "TQ2_0"):
        return "Ternary formats need a model that was trained for three-valued weights."
    if preset.name == "MXFP4_MOE" and not model.experts:
        return "MXFP4_MOE compresses experts, and this model has none."
    if preset.name == "F32" and model.bits_per_weight < 32:
        return "F32 doubles the size of 16-bit weights and adds nothing."
    key = tuple(types.values())
    if key in seen:
        return f"Every tensor gets the same type as in {seen[key]}: its columns fall back there."
    seen[key] = preset.name
    return None


def _notes(model: ModelSpec, preset: Preset, types: Mapping[str, str]) -> tuple[str, ...]:
    notes = []
    fallen = fallbacks(model, types, preset)
    if fallen:
        kinds = ", ".join(sorted(set(fallen.values())))
        block = TENSOR_TYPES[preset.base].block_elements
        notes.append(
            f"{len(fallen)} of {len(model.tensors)} tensors have columns that do not divide by "
            f"{block} and become {kinds}."
        )
    if preset.needs_importance:
        notes.append("It is made with an importance matrix, which this format requires.")
    return tuple(notes)
