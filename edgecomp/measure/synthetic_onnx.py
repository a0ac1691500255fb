"""Random-weight ONNX decoders of any shape, as the onnxruntime-genai builder lays them out.

For timing kernels: the same operators in the same order, so that a small graph of one matrix type
stands for all. Written without the builder, which needs torch and a checkpoint.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgecomp.measure.synthetic_model import SyntheticShape
from edgecomp.models.onnx_folder import CONFIG, DATA, GRAPH, TOKENIZER
from edgecomp.models.tensor_types import TENSOR_TYPES

OPSETS = {"": 22, "com.microsoft": 1}
IR_VERSION = 10
ACCURACY_LEVEL = 4
"""The builder's on the CPU: activations rounded to int8."""

MICROSOFT = "com.microsoft"


def write_synthetic_onnx(folder: Path, shape: SyntheticShape, kind: str, seed: int = 0) -> None:
    """Write a decoder of `shape`, whose matrices are of the tensor type `kind` (F32, INT8_32,
    INT4_32 ...), into the empty `folder`."""
    graph = _Graph(np.random.default_rng(seed), kind)
    hidden = _embedding(graph, shape)
    normed = graph.node(
        "SimplifiedLayerNormalization", [hidden, graph.ones("first", shape.width)], epsilon=1e-5
    )
    for layer in range(shape.layers):
        hidden, normed = _layer(graph, shape, layer, hidden, normed)
    head = graph.product("head", normed, shape.width, shape.vocabulary)
    graph.nodes.append(helper.make_node("Identity", [head], ["logits"]))
    model = helper.make_model(
        helper.make_graph(
            graph.nodes, "synthetic", _inputs(shape), _outputs(shape), graph.initializers
        ),
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid(*row) for row in OPSETS.items()],
    )
    onnx.save(model, folder / GRAPH, save_as_external_data=True, location=DATA)
    (folder / CONFIG).write_text(json.dumps(_config(shape)))
    _write_tokenizer(folder / TOKENIZER)


class _Graph:
    """Nodes and initializers, gathered in order."""

    def __init__(self, random: np.random.Generator, kind: str) -> None:
        self.random = random
        self.kind = TENSOR_TYPES[kind]
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []

    def node(self, operator: str, inputs: list[str], domain: str = "", **settings: Any) -> str:
        """Add a node with one output, whose name is returned."""
        output = f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], domain=domain, **settings))
        return output

    def constant(self, name: str, values: NDArray[Any]) -> str:
        self.initializers.append(numpy_helper.from_array(values, name))
        return name

    def ones(self, name: str, width: int) -> str:
        return self.constant(f"{name}.norm", np.ones(width, dtype=np.float32))

    def product(self, name: str, source: str, columns: int, rows: int) -> str:
        """`source` [.., columns] times a random matrix: [.., rows]."""
        if self.kind.is_float:
            values = self.random.standard_normal((columns, rows), dtype=np.float32)
            return self.node("MatMul", [source, self.constant(name, values * columns**-0.5)])
        block = self.kind.block_elements
        bits = 4 if self.kind.name.startswith("INT4") else 8
        blocks = -(-columns // block)
        shape = (rows, blocks, block * bits // 8)
        codes = self.random.integers(0, 256, shape, dtype=np.uint8)
        scales = np.full((rows, blocks), 2.0**-bits * columns**-0.5, dtype=np.float32)
        return self.node(
            "MatMulNBits",
            [
                source,
                self.constant(f"{name}.codes", codes),
                self.constant(f"{name}.scales", scales),
            ],
            MICROSOFT,
            K=columns,
            N=rows,
            bits=bits,
            block_size=block,
            accuracy_level=ACCURACY_LEVEL,
        )


def _embedding(graph: _Graph, shape: SyntheticShape) -> str:
    """The embedded tokens; beside them, what attention asks of the mask and the rotary tables."""
    one = graph.constant("one", np.array([1], dtype=np.int64))
    first = graph.constant("first", np.array(1, dtype=np.int64))
    lengths = graph.node("ReduceSum", ["attention_mask", one], keepdims=0)
    last = graph.node("Sub", [lengths, one])
    sizes = graph.node("Shape", ["attention_mask"])
    total = graph.node("Gather", [sizes, first], axis=0)
    for name, value in (("last", last), ("total", total)):
        graph.nodes.append(helper.make_node("Cast", [value], [name], to=TensorProto.INT32))
    angles = np.zeros((shape.context, shape.head_length // 2), dtype=np.float32)
    graph.constant("cos_cache", np.cos(angles))
    graph.constant("sin_cache", np.sin(angles))
    table = graph.random.standard_normal((shape.vocabulary, shape.width), dtype=np.float32)
    return graph.node("Gather", [graph.constant("embedding", table), "input_ids"])


def _layer(
    graph: _Graph, shape: SyntheticShape, layer: int, hidden: str, normed: str
) -> tuple[str, str]:
    """One decoder layer: the residual sum, and the same normed for what comes next."""
    width, name = shape.width, f"layer{layer}"
    keys = shape.kv_heads * shape.head_length
    queries = graph.product(f"{name}.qkv", normed, width, shape.query_width + 2 * keys)
    attended = f"{name}.attended"
    past = [f"past_key_values.{layer}.{part}" for part in ("key", "value")]
    present = [f"present.{layer}.{part}" for part in ("key", "value")]
    graph.nodes.append(
        helper.make_node(
            "GroupQueryAttention",
            [queries, "", "", *past, "last", "total", "cos_cache", "sin_cache"],
            [attended, *present],
            domain=MICROSOFT,
            num_heads=shape.heads,
            kv_num_heads=shape.kv_heads,
            do_rotary=1,
            scale=shape.head_length**-0.5,
        )
    )
    output = graph.product(f"{name}.output", attended, shape.query_width, width)
    hidden, normed = _add_and_norm(graph, f"{name}.ffn", shape, hidden, output)
    gate = graph.product(f"{name}.gate", normed, width, shape.feed_forward)
    up = graph.product(f"{name}.up", normed, width, shape.feed_forward)
    activated = graph.node("Mul", [gate, graph.node("Sigmoid", [gate])])
    product = graph.node("Mul", [activated, up])
    down = graph.product(f"{name}.down", product, shape.feed_forward, width)
    return _add_and_norm(graph, f"{name}.next", shape, hidden, down)


def _add_and_norm(
    graph: _Graph, name: str, shape: SyntheticShape, hidden: str, added: str
) -> tuple[str, str]:
    normed, total = f"{name}.normed", f"{name}.sum"
    graph.nodes.append(
        helper.make_node(
            "SkipSimplifiedLayerNormalization",
            [hidden, added, graph.ones(name, shape.width)],
            [normed, "", "", total],
            domain=MICROSOFT,
            epsilon=1e-5,
        )
    )
    return total, normed


def _cache(shape: SyntheticShape, prefix: str, length: str) -> list[Any]:
    dimensions = ["batch", shape.kv_heads, length, shape.head_length]
    return [
        helper.make_tensor_value_info(f"{prefix}.{layer}.{part}", TensorProto.FLOAT, dimensions)
        for layer in range(shape.layers)
        for part in ("key", "value")
    ]


def _inputs(shape: SyntheticShape) -> list[Any]:
    rows = (("input_ids", "sequence"), ("attention_mask", "total"))
    integers = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", length])
        for name, length in rows
    ]
    return [*integers, *_cache(shape, "past_key_values", "past")]


def _outputs(shape: SyntheticShape) -> list[Any]:
    dimensions = ["batch", "sequence", shape.vocabulary]
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, dimensions)
    return [logits, *_cache(shape, "present", "total")]


def _config(shape: SyntheticShape) -> dict[str, Any]:
    decoder = {
        "num_hidden_layers": shape.layers,
        "num_key_value_heads": shape.kv_heads,
        "head_size": shape.head_length,
    }
    model = {"decoder": decoder, "eos_token_id": 0, "context_length": shape.context}
    return {"model": model, "search": {"past_present_share_buffer": True}}


def _write_tokenizer(path: Path) -> None:
    from tokenizers import Tokenizer, models

    Tokenizer(models.WordLevel({"a": 0}, unk_token="a")).save(str(path))
