"""Bytes of a model in llama.cpp: weights, KV cache, compute buffer, output buffer, and the rest.

Formulas follow llama.cpp's allocations (as of llama-cpp-python 0.3.36) and are checked against what
the library itself reports, for several shapes and settings, in tests/test_memory.py.
"""

from __future__ import annotations

from edgecomp.formats import TENSOR_TYPES
from edgecomp.model import ModelSpec
from edgecomp.runtimes.settings import RunSettings
from edgecomp.value import Value

CELL_PADDING = 256
"""llama.cpp rounds the KV cache up to this many cells."""

WORKER_BYTES = 56 * 10**6
"""A worker process with Python, numpy and llama.cpp loaded, where no calibration says better."""

VOCABULARY_ENTRY_BYTES = 330
"""Of one token in llama.cpp's tables: its text, its place in the maps, and its merge rule."""

SCHEDULER_COPIES = 4
GRAPH_NODE_BYTES = 1_300
NODES_PER_LAYER = 40


class MemoryEstimate(Value):
    """Peak bytes while one model runs; `basis` says where the figures come from."""

    weights_bytes: int
    kv_cache_bytes: int
    compute_bytes: int
    output_bytes: int
    runtime_bytes: int
    """The process itself, the vocabulary's tables and the graph."""

    basis: str = "formula"

    @property
    def total_bytes(self) -> int:
        return (
            self.weights_bytes
            + self.kv_cache_bytes
            + self.compute_bytes
            + self.output_bytes
            + self.runtime_bytes
        )


def padded(cells: int) -> int:
    """Cells as llama.cpp allocates them."""
    return -(-cells // CELL_PADDING) * CELL_PADDING


def kv_cells(model: ModelSpec, layer: int, settings: RunSettings) -> int:
    """Cells of one layer's cache: a sliding layer keeps its window and one batch."""
    cells = padded(settings.context)
    if model.slides(layer) and model.sliding_window:
        per_sequence = model.sliding_window * settings.sequences + settings.micro_batch
        return min(cells, padded(per_sequence))
    return cells


def kv_layer_bytes(model: ModelSpec, settings: RunSettings) -> list[int]:
    """Of each layer: cells x KV heads x (key and value length in the cache's type)."""
    kind = TENSOR_TYPES[settings.kv_type]
    row = kind.size_bytes(model.kv_heads * model.key_length)
    row += kind.size_bytes(model.kv_heads * model.value_length)
    if not model.sliding_window:
        return [row * padded(settings.context)] * model.layers
    return [row * kv_cells(model, layer, settings) for layer in range(model.layers)]


def kv_cache_bytes(model: ModelSpec, settings: RunSettings) -> int:
    """Sum over all layers."""
    return sum(kv_layer_bytes(model, settings))


def compute_bytes(model: ModelSpec, settings: RunSettings) -> int:
    """The graph allocator's peak: the larger of a layer's live tensors and the output's.

    Per token of a micro batch a feed-forward block holds four rows of the width and three of the
    hidden width (two where the third finds room in two freed rows of the width); attention holds
    the residual, the queries, keys and values, and, without flash attention, one score a head and
    cell. The mask is an input and lives throughout. At the output all tokens' rows are still there
    when those that are asked for are picked and multiplied. A hidden width below twice the width,
    which no dense family has, fragments the allocator's memory: there the figure is up to a fifth
    too high.
    """
    tokens = min(settings.micro_batch, padded(settings.context))
    cells = padded(settings.context)
    flash = settings.flash_attention
    mask = cells * (2 if flash else 4)
    hidden = model.feed_forward_length * max(model.experts_used, 1)
    rows = 2 if hidden <= 2 * model.embedding_length else 3
    feed_forward = 4 * (4 * model.embedding_length + rows * hidden) + 20
    query = model.heads * model.key_length
    key_and_value = model.kv_heads * (model.key_length + model.value_length)
    attention = 4 * (3 * model.embedding_length + 2 * query + key_and_value) + 12
    if not flash:
        attention += 4 * cells * model.heads
    layer = tokens * (mask + max(feed_forward, attention))
    outputs = min(settings.outputs, tokens)
    output = 4 * outputs * (model.vocabulary + model.embedding_length)
    output += 4 * tokens * model.embedding_length
    return max(layer, output)


def pipeline_bytes(model: ModelSpec, settings: RunSettings) -> int:
    """What several cards that work on micro batches in turn hold beside their compute buffers.

    Where all layers lie on cards, llama.cpp keeps GGML_SCHED_MAX_COPIES copies of what enters a
    card, the mask and the activations, of which the compute buffer counts one (llama-context.cpp,
    ggml-backend.cpp).
    """
    tokens = min(settings.micro_batch, padded(settings.context))
    mask = padded(settings.context) * (2 if settings.flash_attention else 4)
    return (SCHEDULER_COPIES - 1) * tokens * (mask + 4 * model.embedding_length)


def output_bytes(model: ModelSpec, settings: RunSettings) -> int:
    """Rows of logits that the caller can read, at least one a sequence."""
    return max(settings.outputs, settings.sequences) * model.vocabulary * 4


def runtime_bytes(model: ModelSpec, worker_bytes: int = WORKER_BYTES) -> int:
    """The process, the vocabulary's tables and the graph's nodes."""
    graph = model.layers * NODES_PER_LAYER * GRAPH_NODE_BYTES
    return worker_bytes + model.vocabulary * VOCABULARY_ENTRY_BYTES + graph


def estimate_memory(
    model: ModelSpec,
    stored_bytes: int,
    settings: RunSettings,
    worker_bytes: int | None = None,
) -> MemoryEstimate:
    """Peak memory of a model whose weights take `stored_bytes`, run with `settings`."""
    return MemoryEstimate(
        weights_bytes=stored_bytes,
        kv_cache_bytes=kv_cache_bytes(model, settings),
        compute_bytes=compute_bytes(model, settings),
        output_bytes=output_bytes(model, settings),
        runtime_bytes=runtime_bytes(model, worker_bytes or WORKER_BYTES),
        basis="formula" if worker_bytes is None else "formula, process measured here",
    )
