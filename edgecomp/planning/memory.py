"""Bytes of a model in llama.cpp: weights, KV cache, compute buffer, output buffer, and the rest.

Formulas follow llama.cpp's allocations (as of llama-cpp-python 0.3.36) and are checked against what
the library itself reports, for several shapes and settings, in tests/planning/test_memory.py.
"""

from __future__ import annotations

from edgecomp.common.frozen_model import FrozenModel
from edgecomp.models.spec import ModelSpec
from edgecomp.models.tensor_types import TENSOR_TYPES
from edgecomp.planning.cache_memory import kv_cache_bytes, kv_cells, pad_cells
from edgecomp.planning.compute_graph import graph_bytes
from edgecomp.recipes.run_settings import RunSettings

WORKER_BYTES = 56 * 10**6
"""A worker process with Python, numpy and llama.cpp loaded, where no calibration says better."""

TOUCHED_BYTES = 5_700_000
"""Code of the kernels, and small tables, that a process takes once any model runs."""

VOCABULARY_ENTRY_BYTES = 265
"""Bytes of one token in llama.cpp's tables: its text, its place in the maps, and its merge rule."""

ROTATED_VALUES = 64
SCHEDULER_COPIES = 4
GRAPH_NODE_BYTES = 1_300
NODES_PER_LAYER = 40


class MemoryEstimate(FrozenModel):
    """Peak bytes while one model runs; `basis` says where the figures come from."""

    weights_bytes: int
    kv_cache_bytes: int
    compute_bytes: int
    output_bytes: int
    runtime_bytes: int
    """The process itself, the vocabulary's tables, the graph, and what kernels work in."""

    projector_bytes: int = 0
    """Weights of what reads pictures or sounds, loaded beside the text model. What computing them
    takes beside depends on the family and on the picture: llama.cpp says it when it loads them."""

    basis: str = "formula"

    @property
    def total_bytes(self) -> int:
        return (
            self.weights_bytes
            + self.kv_cache_bytes
            + self.compute_bytes
            + self.output_bytes
            + self.runtime_bytes
            + self.projector_bytes
        )


def compute_bytes(model: ModelSpec, settings: RunSettings) -> int:
    """The graph allocator's peak on the CPU: exact where every matrix of the layers is known by its
    name in GGUF (compute_graph.py). Of other models a layer's live tensors or the output's,
    whichever are larger, as in dense models: too little for layers that do more."""
    drawn = graph_bytes(model, settings)
    if drawn is not None:
        return drawn
    return _compute_bytes(model, settings, 3, _feed_forward_floats(model, settings))


def card_compute_bytes(model: ModelSpec, settings: RunSettings) -> int:
    """The same of a card that holds some of the layers, two or more, and their cache.

    What enters is a copy with a place of its own, so less is lost between blocks: of the width, the
    residual and the normed rows are live beside the hidden rows. Read off llama.cpp's reports for
    shapes of Llama, over two devices (tests/offload).
    """
    width, hidden = model.embedding_length, model.hidden_rows
    rows = (3 if _again(model, settings) else 2) * width
    return _compute_bytes(model, settings, 2, rows + 3 * hidden)


def _compute_bytes(
    model: ModelSpec, settings: RunSettings, widths: int, feed_forward_floats: int
) -> int:
    """The peak where `widths` rows of the width are live beside the scores of attention, and so
    many floats a token in a feed-forward block."""
    tokens = min(settings.micro_batch, pad_cells(settings.context))
    cells = sorted({kv_cells(model, layer, settings) for layer in range(model.layers)})
    caches = 2 if model.sliding_layers else 1
    masks = sum(cells) * (caches // len(cells)) * (2 if settings.flash_attention else 4)
    inputs = caches * _places_bytes(model, settings)
    live = 4 * feed_forward_floats
    if not settings.flash_attention:
        query = model.heads * model.key_length
        scores = cells[-1] * model.heads
        live = max(live, 4 * (widths * model.embedding_length + 2 * query + scores))
    layer = tokens * (masks + inputs + live) + caches * _rotation_bytes(model, settings)
    outputs = min(settings.outputs, tokens)
    output = 4 * outputs * (model.vocabulary + model.embedding_length)
    output += 4 * tokens * model.embedding_length
    return max(layer, output)


def _places_bytes(model: ModelSpec, settings: RunSettings) -> int:
    """Bytes of one token's places: its position, and where its keys and values go in a cache.
    Without flash attention values are stored transposed, each at an index of its own."""
    values = model.kv_heads * model.value_length
    return 20 if settings.flash_attention else 8 * values + 12


def _feed_forward_floats(model: ModelSpec, settings: RunSettings) -> int:
    """Live floats a token in a feed-forward block: rows of the width w and of the hidden width, and
    the block that the queries, q wide, left behind.

    The allocator puts each tensor into the smallest free block that holds it, so what is left of
    the queries' block is lost; where q is 2w or more, all later rows fit into it. A quantized cache
    has the queries rotated, which takes another block, or makes one fit; without flash attention it
    is free again before. Read off llama.cpp's reports for shapes of Llama, Qwen 2 and 3, Gemma 2
    and 3; Phi 3, whose queries, keys and values are one product, has up to 9 % less.
    """
    width, query = model.embedding_length, model.heads * model.key_length
    hidden = model.hidden_rows
    if not model.gated:
        return 4 * width + hidden
    if hidden <= 2 * width:
        return 4 * width + 2 * hidden
    if query >= 2 * width:
        return query + 3 * hidden
    if query >= width and not settings.flash_attention:
        return 3 * width + 3 * hidden
    if _rotates(model, settings) and query == width:
        return 3 * width + 3 * hidden
    return 3 * width + (2 if _again(model, settings) else 1) * query + 3 * hidden


def _again(model: ModelSpec, settings: RunSettings) -> bool:
    """Whether narrow queries leave a block more behind: when they are rotated, or for a head's
    scores where no hidden row is free to hold them."""
    scores = 0 if settings.flash_attention else pad_cells(settings.context) * model.heads
    hidden = model.hidden_rows
    narrow = model.heads * model.key_length < model.embedding_length
    return narrow and (_rotates(model, settings) or scores > hidden)


def _rotates(model: ModelSpec, settings: RunSettings) -> bool:
    """Whether llama.cpp rotates what it keeps in the cache: in a quantized one, where heads are
    long enough."""
    return not TENSOR_TYPES[settings.key_type].is_float and model.key_length % ROTATED_VALUES == 0


def _rotation_bytes(model: ModelSpec, settings: RunSettings) -> int:
    """Two Hadamard matrices, by which llama.cpp rotates what it keeps in a quantized cache: the
    keys' as wide as the largest power of two that divides a head, the values' ROTATED_VALUES."""
    if not _rotates(model, settings):
        return 0
    keys = model.key_length & -model.key_length
    return 4 * (keys**2 + ROTATED_VALUES**2)


def pipeline_bytes(model: ModelSpec, settings: RunSettings) -> int:
    """What several cards that work on micro batches in turn hold beside their compute buffers.

    Where all layers lie on cards, llama.cpp keeps GGML_SCHED_MAX_COPIES copies of what enters a
    card, the mask, the places and the activations, of which the compute buffer counts one
    (llama-context.cpp, ggml-backend.cpp).
    """
    tokens = min(settings.micro_batch, pad_cells(settings.context))
    mask = pad_cells(settings.context) * (2 if settings.flash_attention else 4)
    entering = mask + _places_bytes(model, settings) + 4 * model.embedding_length
    return (SCHEDULER_COPIES - 1) * tokens * entering


def output_bytes(model: ModelSpec, settings: RunSettings) -> int:
    """Rows of logits that the caller can read, at least one a sequence."""
    return max(settings.outputs, settings.sequences) * model.vocabulary * 4


def runtime_bytes(model: ModelSpec, settings: RunSettings, worker_bytes: int = WORKER_BYTES) -> int:
    """The process, the vocabulary's tables, the graph's nodes, and the CPU kernels' work buffer."""
    graph = model.layers * NODES_PER_LAYER * GRAPH_NODE_BYTES
    tables = model.vocabulary * VOCABULARY_ENTRY_BYTES
    return worker_bytes + TOUCHED_BYTES + tables + graph + work_bytes(model, settings)


def work_bytes(model: ModelSpec, settings: RunSettings) -> int:
    """What llama.cpp's CPU kernels convert the larger of a product's inputs into.

    A block's hidden rows become 8-bit blocks; without flash attention the scores of all heads
    become F16 to be multiplied with the values.
    """
    tokens = min(settings.micro_batch, pad_cells(settings.context))
    hidden = TENSOR_TYPES["Q8_0"].size_bytes(model.feed_forward_length)
    scores = 0 if settings.flash_attention else 2 * pad_cells(settings.context) * model.heads
    return tokens * max(hidden, scores)


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
        runtime_bytes=runtime_bytes(model, settings, worker_bytes or WORKER_BYTES),
        projector_bytes=model.projector_bytes,
        basis="formula" if worker_bytes is None else "formula, process measured here",
    )
