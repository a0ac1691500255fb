"""Bytes of a model in ONNX Runtime on the CPU: weights as kernels keep them, cache, logits.

ONNX Runtime rearranges matrices for its kernels when it loads them and lets go of the originals;
MatMulNBits' kernel keeps one float32 sum a block beside the codes. A tied head is kept twice, since
the embedding is looked up in another layout, and folding it takes its size once more for a moment
where it is float. Tables that are only looked up in stay mapped from the file and are left out: the
system takes their pages back when memory is short, and how many it maps is its own affair (all of
them have been seen mapped right after the file was written). The logits of a micro batch exist
twice, in the runtime and as the caller's array.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgecomp.formats.onnx_formats import onnx_format, onnx_tensor_bytes, onnx_types
from edgecomp.models.spec import EMBEDDING, ModelSpec
from edgecomp.models.tensor_types import TENSOR_TYPES
from edgecomp.planning.memory import VOCABULARY_ENTRY_BYTES, MemoryEstimate
from edgecomp.recipes.run_settings import RunSettings

LIBRARY_BYTES = 51 * 10**6
"""Code of Python, numpy, tokenizers and ONNX Runtime, mapped from files. How much of it is in
memory is the system's affair as well: 68 MB have been seen where it had just been installed."""

ONNX_WORKER_BYTES = LIBRARY_BYTES + 41 * 10**6
"""A worker process with its libraries, and the arenas that a session touches whatever the model: a
two-layer model peaks here."""

LAYER_GRAPH_BYTES = 400_000
BLOCK_SUM_BYTES = 4


def estimate_onnx_memory(
    model: ModelSpec,
    format_name: str,
    settings: RunSettings,
    overrides: Mapping[str, str] | None = None,
) -> MemoryEstimate:
    """Peak memory of `model` in a format, run with `settings`; `overrides`: some tensors' own
    types."""
    types = onnx_types(model, format_name, overrides=overrides)
    cache = 4 * settings.context * model.layers * model.kv_heads
    cache *= model.key_length + model.value_length
    output = 2 * 4 * min(settings.micro_batch, settings.context) * model.vocabulary
    running = 4 * activation_numbers(model, settings)
    loading = _head_bytes(model, types) if model.tied_embeddings else 0
    return MemoryEstimate(
        weights_bytes=_weights_bytes(model, format_name, types),
        kv_cache_bytes=cache,
        # The cache fills, and logits are there, only while it runs.
        compute_bytes=max(running, loading - cache - output),
        output_bytes=output,
        runtime_bytes=ONNX_WORKER_BYTES
        + model.vocabulary * VOCABULARY_ENTRY_BYTES
        + model.layers * LAYER_GRAPH_BYTES,
    )


def _weights_bytes(model: ModelSpec, format_name: str, types: Mapping[str, str]) -> int:
    total = 0
    for tensor in model.tensors:
        kind = types.get(tensor.name)
        looked_up = tensor.name == EMBEDDING and not model.tied_embeddings
        if kind is None or looked_up:
            continue
        size = onnx_tensor_bytes(tensor.shape, kind)
        row = TENSOR_TYPES[kind]
        if not row.is_float:
            size += BLOCK_SUM_BYTES * size // row.block_bytes
        total += size
    if model.tied_embeddings and onnx_format(format_name).precision != "int8":
        total += _head_bytes(model, types)
    return total


def _head_bytes(model: ModelSpec, types: Mapping[str, str]) -> int:
    return onnx_tensor_bytes((model.vocabulary, model.embedding_length), types[model.head_name])


def activation_numbers(model: ModelSpec, settings: RunSettings) -> int:
    """Live numbers of a micro batch in the widest part of a layer, its scores included."""
    tokens = min(settings.micro_batch, settings.context)
    hidden = 4 * model.embedding_length + 3 * model.feed_forward_length
    return tokens * (hidden + model.heads * settings.context)
