"""The steps from which llama.cpp's graphs are put together, as far as their values take memory.

Written after llama.cpp's own builders (src/llama-graph.cpp as of llama-cpp-python 0.3.36).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from edgecomp.models.spec import ModelSpec
from edgecomp.models.tensor_types import TENSOR_TYPES
from edgecomp.planning.cache_memory import kv_cells, pad_cells
from edgecomp.planning.graph_memory import Graph, Value
from edgecomp.recipes.run_settings import RunSettings

ROTATED_VALUES = 64

NOT_ROTATED = frozenset(
    ("bloom", "gpt2", "granitehybrid", "jais", "jamba", "kimi-linear", "mamba", "mamba2", "mpt",
     "nemotron_h", "nemotron_h_moe", "refact", "starcoder")
)  # fmt: skip
"""Families whose queries and keys are not turned by their positions. Where only the sliding layers
turn them, and where each fourth layer does not, see below: llama.cpp has it by their names too."""

SLIDING_ROTATED = frozenset(("cohere2", "cohere2moe", "exaone4"))
"""And dense layers of mixtures."""

FOURTH_NOT_ROTATED = frozenset(("afmoe", "llama4", "smollm3"))

Shape = tuple[int, ...]
Layer = Mapping[str, Shape]
"""A layer's tensors, by what stands after `blk.N.` in their names: their shapes."""


class Cache(NamedTuple):
    """What attention of one kind reads beside the states: its cells, which of them each token sees,
    where keys and values go, and the matrices that both are turned by in a quantized cache."""

    cells: int
    mask: Value
    key_places: Value
    value_places: Value | None
    key_turn: Value | None
    value_turn: Value | None


class GraphBuilder:
    """A graph that grows; sizes in float32 values unless said."""

    def __init__(self, model: ModelSpec, settings: RunSettings) -> None:
        self.model, self.settings = model, settings
        self.graph = Graph()
        self.width = model.embedding_length
        self.tokens = min(settings.micro_batch, pad_cells(settings.context))
        self.outputs = min(settings.outputs, self.tokens)
        self.positions = self.input((self.tokens,))
        self.wanted = self.input((self.outputs,))
        self.state_places = self.input((settings.sequences,))
        self.caches = self._caches()
        self.indexer: tuple[Value, Value, Value] | None = None
        """Of an indexer's cache: where keys go, the mask, and what keys are turned by."""

        self.chosen: Value | None = None
        """The cells that the last layer with an indexer chose for each token."""

        self.pictures: Value | None = None
        """The states that come in, and those of pictures for the first layers."""

        self.layer_inputs: Value | None = None
        """What each layer looks up of the tokens, for all layers."""

    def rotates(self, layer: Layer, index: int) -> bool:
        """Whether layer `index` tells positions by turning queries and keys."""
        family = self.model.architecture
        if family in SLIDING_ROTATED and self.model.sliding_layers:
            dense = self.model.experts > 0 and "ffn_down_exps.weight" not in layer
            return dense or self.model.slides(index)
        return family not in NOT_ROTATED and not (family in FOURTH_NOT_ROTATED and index % 4 == 3)

    def _caches(self) -> dict[bool, Cache]:
        """By whether the layers slide; a model with some of them has one of the others too."""
        model, flash = self.model, self.settings.flash_attention
        kept = model.layer_caches or (model.usual_cache,) * model.layers
        kinds = {
            model.slides(layer): kv_cells(model, layer, self.settings)
            for layer, cache in enumerate(kept)
            if cache.key_values
        }
        if True in kinds:
            kinds.setdefault(False, pad_cells(self.settings.context))
        values = max((cache.value_values for cache in kept), default=0)
        places = self.tokens if flash else self.tokens * values
        return {
            slides: Cache(
                cells,
                self.input((cells, self.tokens), 2 if flash else 4),
                self.input((self.tokens,), 8),
                self.input((places,), 8) if values else None,
                self._turn(self.settings.key_type, model.key_length),
                self._turn(self.settings.value_type, model.value_length, ROTATED_VALUES)
                if values
                else None,
            )
            for slides, cells in sorted(kinds.items())
        }

    def _turn(self, kind: str, length: int, size: int | None = None) -> Value | None:
        """A Hadamard matrix, as wide as the largest power of two that divides a head's length
        unless said; for a quantized cache of heads that are long enough."""
        if TENSOR_TYPES[kind].is_float or length % ROTATED_VALUES:
            return None
        return self.input((size or length & -length,) * 2)

    def input(self, shape: Shape, item_bytes: int = 4) -> Value:
        """What is set from outside."""
        return Value(shape, item_bytes=item_bytes)

    def new(self, shape: Shape, *sources: Value, item_bytes: int = 4) -> Value:
        """What takes a place of its own: a product, rows picked, a copy."""
        return Value(shape, sources, item_bytes=item_bytes)

    def over(self, shape: Shape, *sources: Value) -> Value:
        """What may take an operand's place: a sum, a factor, a norm, an activation."""
        return Value(shape, sources, over=True)

    def view(self, of: Value, shape: Shape) -> Value:
        """The same values otherwise shaped, a part of them, or in another order, where they lie."""
        return Value(shape, (of,), view_of=of)

    def keep(self, *written: Value) -> None:
        """Write values to a cache or a state, which lie elsewhere."""
        self.graph.expand(Value((), written, view_of=Value((0,))))

    def norm(self, x: Value, shape: Shape, layer: Layer, name: str) -> Value:
        """By the root of the mean square; with a bias the kind that is shifted, which takes a place
        of its own."""
        shifted = f"{name}.bias" in layer
        x = self.new(shape, x) if shifted else self.over(shape, x)
        if f"{name}.weight" in layer:
            x = self.over(shape, x)
        return self.over(shape, x) if shifted else x

    def product(self, x: Value, layer: Layer, name: str, tokens: int | None = None) -> Value:
        """With a matrix, and its bias added, of all tokens unless said."""
        shape = (layer[f"{name}.weight"][-2], tokens or self.tokens)
        y = self.new(shape, x)
        return self.over(shape, y) if f"{name}.bias" in layer else y
