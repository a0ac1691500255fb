"""What a model is: its sizes and its tensors, which bear GGUF names whatever the source."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Literal

from edgecomp.common.frozen_model import FrozenModel, OneLine
from edgecomp.models.architectures import BY_GGUF_NAME, Architecture
from edgecomp.models.integer_grid import IntegerGrid
from edgecomp.models.layer_cache import LayerCache
from edgecomp.models.projector import Projector
from edgecomp.models.tensor_types import TENSOR_TYPES

TensorGroup = Literal["embedding", "attention", "ffn", "experts", "norm", "output", "other"]


GROUPS: tuple[TensorGroup, ...] = (
    "embedding", "attention", "ffn", "experts", "norm", "output", "other",
)  # fmt: skip


EMBEDDING, OUTPUT = "token_embd.weight", "output.weight"
"""GGUF's names of the matrices outside the blocks."""


class TensorSpec(FrozenModel):
    """One tensor: its GGUF name, its shape as GGUF has it (rows first), its type at the source."""

    name: str
    source_name: str
    shape: tuple[int, ...]
    dtype: str
    group: TensorGroup
    grid: IntegerGrid | None = None
    """Where a quantized checkpoint's weights lie, if neighbouring columns share a step."""

    @cached_property
    def elements(self) -> int:
        return math.prod(self.shape)

    @cached_property
    def layer(self) -> int | None:
        """The decoder layer it belongs to; None for embeddings and the head."""
        block, _, rest = self.name.partition(".")
        number = rest.partition(".")[0]
        return int(number) if block == "blk" and number.isdigit() else None


class ModelSpec(FrozenModel):
    """What the headers of a model say."""

    schema_version: Literal[1] = 1
    path: Path
    source: Literal["huggingface", "gguf"]
    name: OneLine
    architecture: OneLine
    """GGUF's name of the family, or the Hugging Face class where GGUF has none."""

    layout: Literal["known", "learned", "unknown"]
    """Where it is known how its tensors lie in GGUF. `known`: in the family's row here; `learned`:
    in what llama.cpp's own converter writes, or wrote; `unknown`: nothing here writes it."""

    layers: int
    embedding_length: int
    feed_forward_length: int
    heads: int
    kv_heads: int
    key_length: int
    value_length: int
    vocabulary: int
    context_length: int
    sliding_window: int | None
    full_attention_every: int
    """The last of each n layers attends to everything (n = 0: every layer does)."""

    sliding_pattern: tuple[bool, ...] = ()
    """One entry a layer, True where it slides; empty where `full_attention_every` says it all."""

    layer_caches: tuple[LayerCache, ...] = ()
    """What each layer keeps; empty where each keeps `kv_heads` keys and values of every token."""

    experts: int
    experts_used: int
    cells_chosen: int = 0
    """How many of a cache's cells each token attends to, where an indexer chooses them; else 0."""

    picture_layers: int = 0
    """The first layers that are each handed states of a picture of their own."""

    tied_embeddings: bool
    """The embedding serves as the head: by what is stored, whatever the config says."""

    tokenizer: OneLine | None
    chat_template: str | None
    licence: OneLine | None
    quantization: OneLine | None
    """The type most weights of the source have, where that is not a float type."""

    file_bytes: int
    tensors: tuple[TensorSpec, ...]
    repeated_tokens: tuple[str, ...] = ()
    """Texts that a GGUF file's vocabulary holds more than once: llama.cpp ends its process."""

    notes: tuple[str, ...] = ()
    """What the user must know of how the files were read, one sentence each."""

    projector: Projector | None = None
    """What reads pictures or sounds for it, and lies or goes into a file of its own."""

    left_out: TensorSpec | None = None
    """The lesser copy of a matrix that a GGUF file holds twice: it is not among `tensors`, and the
    kept copy is named for what it serves as."""

    @property
    def projector_bytes(self) -> int:
        """Of the file that goes along with its artifacts; 0 where there is or can be none."""
        return self.projector.file_bytes if self.projector and not self.projector.lacking else 0

    @cached_property
    def family(self) -> Architecture | None:
        """The family's row, where the layout is known by it."""
        return BY_GGUF_NAME.get(self.architecture) if self.layout == "known" else None

    @cached_property
    def as_stored(self) -> ModelSpec:
        """The model as its file holds it and a runtime loads it, with every copy."""
        if self.left_out is None:
            return self
        tensors = tuple(
            t.model_copy(update={"name": t.source_name, "group": tensor_group(t.source_name)})
            for t in self.tensors
        )
        return self.model_copy(
            update={
                "tensors": (*tensors, self.left_out),
                "tied_embeddings": False,
                "left_out": None,
            }
        )

    @cached_property
    def parameters(self) -> int:
        return sum(tensor.elements for tensor in self.tensors)

    def used_share(self, tensor: TensorSpec) -> float:
        """Share of a tensor that one token passes through: of experts, those it is routed to."""
        return self.experts_used / self.experts if "_exps" in tensor.name and self.experts else 1.0

    @cached_property
    def used_parameters(self) -> int:
        """Parameters that one token passes through: its experts, and everything else."""
        return round(sum(self.used_share(tensor) * tensor.elements for tensor in self.tensors))

    @cached_property
    def layer_rows(self) -> float:
        """Rows of the layers' matrices that one token passes through."""
        return self._rows(t for t in self.tensors if t.layer is not None)

    @cached_property
    def last_feed_forward(self) -> tuple[float, float]:
        """The last layer's: weights that one token passes through, as a share of all layers', and
        their rows."""
        layers = [t for t in self.tensors if t.layer is not None and len(t.shape) > 1]
        last = [t for t in layers if t.layer == self.layers - 1 and t.group in ("ffn", "experts")]
        weights, every = (
            sum(self.used_share(t) * t.elements for t in some) for some in (last, layers)
        )
        return (weights / every if every else 0.0), self._rows(last)

    def _rows(self, tensors: Iterable[TensorSpec]) -> float:
        return sum(
            self.used_share(t) * t.elements / t.shape[-1] for t in tensors if len(t.shape) > 1
        )

    @cached_property
    def parameters_by_group(self) -> dict[TensorGroup, int]:
        totals: dict[TensorGroup, int] = dict.fromkeys(GROUPS, 0)
        for tensor in self.tensors:
            totals[tensor.group] += tensor.elements
        return {group: total for group, total in totals.items() if total}

    @cached_property
    def bits_per_weight(self) -> float:
        """Mean bits of a weight at the source."""
        stored = sum(_stored_bits(tensor) * tensor.elements for tensor in self.tensors)
        return stored / max(self.parameters, 1)

    @property
    def usual_cache(self) -> LayerCache:
        """What a layer keeps where the family's layers are all alike."""
        return LayerCache(
            key_values=self.kv_heads * self.key_length,
            value_values=self.kv_heads * self.value_length,
        )

    @cached_property
    def hidden_rows(self) -> int:
        """Values of a token inside the widest feed-forward block; of experts, of all that it is
        routed to."""
        used = {".ffn_down.weight": 1, ".ffn_down_exps.weight": self.experts_used}
        widths = (
            tensor.shape[-1] * count
            for tensor in self.tensors
            for role, count in used.items()
            if tensor.name.endswith(role)
        )
        return max(widths, default=self.feed_forward_length * max(self.experts_used, 1))

    @cached_property
    def gated(self) -> bool:
        """Whether feed-forward blocks multiply two rows of the hidden width: where a matrix makes
        the second, or the first makes both."""
        ups = [tensor for tensor in self.tensors if tensor.name.endswith(".ffn_up.weight")]
        makes_both = any(tensor.shape[0] >= 2 * self.feed_forward_length for tensor in ups)
        gates = (".ffn_gate.", ".ffn_gate_exps.", ".ffn_gate_shexp.")
        separate = any(role in tensor.name for tensor in self.tensors for role in gates)
        return makes_both or separate or not ups

    @property
    def head_name(self) -> str:
        """The matrix that gives the logits."""
        return EMBEDDING if self.tied_embeddings else OUTPUT

    @property
    def sliding_layers(self) -> int:
        """How many layers attend to the sliding window only."""
        if self.sliding_pattern:
            return sum(self.sliding_pattern)
        if not self.sliding_window or not self.full_attention_every:
            return 0
        return self.layers - self.layers // self.full_attention_every

    def slides(self, layer: int) -> bool:
        """True where `layer` attends to the sliding window only."""
        if self.sliding_pattern:
            return self.sliding_pattern[layer]
        if not self.sliding_window or not self.full_attention_every:
            return False
        return (layer + 1) % self.full_attention_every != 0


def _stored_bits(tensor: TensorSpec) -> float:
    if tensor.dtype in TENSOR_TYPES:
        return TENSOR_TYPES[tensor.dtype].bits_per_weight
    if tensor.dtype.startswith("INT"):
        return float(tensor.dtype.removeprefix("INT"))  # without its groups' scales
    return {"F4_E2M1": 4.0, "F8_E4M3": 8.0, "F8_E5M2": 8.0, "U8": 8.0, "I32": 32.0}.get(
        tensor.dtype, 16.0
    )


def tensor_group(gguf_name: str) -> TensorGroup:
    """The group a GGUF tensor name belongs to."""
    if "_norm" in gguf_name:
        return "norm"
    if gguf_name.startswith(("token_embd", "position_embd", "per_layer_token_embd")):
        return "embedding"
    if gguf_name.startswith("output"):
        return "output"
    if "_exps" in gguf_name or "_shexp" in gguf_name or "ffn_gate_inp" in gguf_name:
        return "experts"
    if ".attn_" in gguf_name:
        return "attention"
    return "ffn" if ".ffn_" in gguf_name else "other"


def dominant_type(tensors: tuple[TensorSpec, ...]) -> str:
    """The type that holds most of the weights."""
    totals: dict[str, int] = {}
    for tensor in tensors:
        totals[tensor.dtype] = totals.get(tensor.dtype, 0) + tensor.elements
    return max(totals, key=lambda dtype: totals[dtype])
