"""Random-weight models of any shape, for timing kernels and checking memory formulas.

One layer is made and quantized; its bytes then serve for every layer, so a large model costs
little to make. The vocabulary is empty of text (`tokenizer.ggml.model` = "none").
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import gguf
import numpy as np

from edgecomp.common.frozen_model import FrozenModel
from edgecomp.devices.measured_runs import RANDOM_MODEL
from edgecomp.models.gguf.header import read_gguf_header
from edgecomp.models.spec import ModelSpec, TensorSpec, tensor_group
from edgecomp.models.tensor_types import TENSOR_TYPES

MATRICES = ("token_embd", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up",
            "ffn_down")  # fmt: skip
NUMPY_TYPES = {"F16": np.float16, "F32": np.float32}


class SyntheticShape(FrozenModel):
    """The shape of a Llama-family model."""

    layers: int
    width: int
    feed_forward: int
    heads: int
    kv_heads: int
    vocabulary: int
    context: int = 8192
    head_size: int | None = None
    """None: the heads share the width."""

    @property
    def head_length(self) -> int:
        return self.head_size or self.width // self.heads

    @property
    def query_width(self) -> int:
        return self.heads * self.head_length

    @property
    def kv_width(self) -> int:
        return self.kv_heads * self.head_length

    @property
    def layer_weights(self) -> int:
        """Matrix elements of one layer."""
        return self.width * (2 * self.query_width + 2 * self.kv_width + 3 * self.feed_forward)

    @property
    def layer_rows(self) -> int:
        """Rows of one layer's matrices."""
        return self.query_width + 2 * self.kv_width + 2 * self.width + 2 * self.feed_forward

    @property
    def decode_weights(self) -> int:
        """Matrix elements that a decoded token passes through, the head's among them."""
        return self.layers * self.layer_weights + self.vocabulary * self.width

    @property
    def decode_rows(self) -> int:
        """Rows of the matrices that a decoded token passes through."""
        return self.layers * self.layer_rows + self.vocabulary

    @property
    def attention_elements(self) -> int:
        """Key and value elements of one layer, counted once a query head, that a query multiplies
        for each token it sees."""
        return 2 * self.query_width

    def batch_weights(self, *, every_logit: bool) -> int:
        """Weights that a token of a batch passes through. llama.cpp leaves the last layer's
        feed-forward out where no logits are asked for."""
        left_out = 0 if every_logit else 3 * self.width * self.feed_forward
        return self.layers * self.layer_weights - left_out

    def batch_rows(self, *, every_logit: bool) -> int:
        """Rows of the matrices that a token of a batch passes through, as `batch_weights`."""
        left_out = 0 if every_logit else 2 * self.feed_forward + self.width
        return self.layers * self.layer_rows - left_out


def synthetic_spec(shape: SyntheticShape) -> ModelSpec:
    """What the header of a model of `shape` says."""
    tensors = tuple(
        TensorSpec(name=name, source_name=name, shape=rows, dtype="F16", group=tensor_group(name))
        for name, rows in _tensors(shape)
    )
    return ModelSpec(
        path=Path("synthetic"),
        source="gguf",
        name=RANDOM_MODEL,
        architecture="llama",
        layout="learned",
        layers=shape.layers,
        embedding_length=shape.width,
        feed_forward_length=shape.feed_forward,
        heads=shape.heads,
        kv_heads=shape.kv_heads,
        key_length=shape.head_length,
        value_length=shape.head_length,
        vocabulary=shape.vocabulary,
        context_length=shape.context,
        sliding_window=None,
        full_attention_every=0,
        experts=0,
        experts_used=0,
        tied_embeddings=True,
        tokenizer=None,
        chat_template=None,
        licence=None,
        quantization=None,
        file_bytes=0,
        tensors=tensors,
    )


def matrix_types(shape: SyntheticShape, kinds: Sequence[str]) -> dict[str, str]:
    """The types of a model's tensors whose matrices take `kinds` in turn, each layer alike."""
    types = {}
    for name, rows in _tensors(shape):
        place = MATRICES.index(name.split(".")[-2]) if len(rows) > 1 else None
        types[name] = "F32" if place is None else kinds[place % len(kinds)]
    return types


def write_synthetic(path: Path, shape: SyntheticShape, seed: int = 0) -> None:
    """Write a float (F16) model of `shape` with seeded random weights and tied embeddings."""
    random = np.random.default_rng(seed)
    writer = _writer(path, shape, gguf.LlamaFileType.MOSTLY_F16)
    for name, rows in _tensors(shape):
        if len(rows) == 1:
            writer.add_tensor(name, np.ones(rows, dtype=np.float32))
        else:
            values = random.standard_normal(rows, dtype=np.float32) * rows[-1] ** -0.5
            writer.add_tensor(name, values.astype(np.float16))
    _finish(writer)


def repeat_first_layer(source: Path, destination: Path, shape: SyntheticShape) -> None:
    """Write a model of `shape` whose every layer has the bytes of the first layer of `source`."""
    header = read_gguf_header(source)
    stored = {tensor.name: tensor for tensor in header.tensors}
    data = np.memmap(source, dtype=np.uint8, mode="r")
    writer = _writer(destination, shape, gguf.LlamaFileType.GUESSED)
    for name, _ in _tensors(shape):
        first = stored[".".join(["blk", "0", *name.split(".")[2:]]) if "blk" in name else name]
        start = header.data_start + first.offset
        kind = gguf.GGMLQuantizationType(TENSOR_TYPES[first.type.name].ggml_id)
        rows = first.shape[0] if len(first.shape) > 1 else 1
        raw = np.array(data[start : start + first.size_bytes]).reshape(rows, -1)
        if first.type.name in NUMPY_TYPES:
            numbers = raw.view(NUMPY_TYPES[first.type.name])
            writer.add_tensor(name, numbers.reshape(first.shape))
        else:
            writer.add_tensor(name, raw, raw_dtype=kind)
    _finish(writer)


def _writer(path: Path, shape: SyntheticShape, kind: gguf.LlamaFileType) -> gguf.GGUFWriter:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("synthetic")
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head_length)
    writer.add_value_length(shape.head_length)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(shape.head_length)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_file_type(kind)
    writer.add_tokenizer_model("none")
    return writer


def _tensors(shape: SyntheticShape) -> list[tuple[str, tuple[int, ...]]]:
    layer = [
        ("attn_norm", (shape.width,)),
        ("attn_q", (shape.query_width, shape.width)),
        ("attn_k", (shape.kv_width, shape.width)),
        ("attn_v", (shape.kv_width, shape.width)),
        ("attn_output", (shape.width, shape.query_width)),
        ("ffn_norm", (shape.width,)),
        ("ffn_gate", (shape.feed_forward, shape.width)),
        ("ffn_up", (shape.feed_forward, shape.width)),
        ("ffn_down", (shape.width, shape.feed_forward)),
    ]
    return [
        ("token_embd.weight", (shape.vocabulary, shape.width)),
        ("output_norm.weight", (shape.width,)),
        *(
            (f"blk.{index}.{name}.weight", rows)
            for index in range(shape.layers)
            for name, rows in layer
        ),
    ]


def _finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
