"""A decoder of one layer in plain ONNX operators, as exporters without ONNX Runtime's own draw it:
past keys and values are joined to new ones, and the mask is added to the scores."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

HEADS, SIZE, POSITIONS, VOCABULARY = 2, 8, 128, 600
WIDTH = HEADS * SIZE


def write_plain_decoder(folder: Path, tokenizer: Path, *, positions: bool = True) -> Path:
    """The folder; `positions`: the graph takes position_ids, and else counts from its own past."""
    folder.mkdir()
    onnx.save(_model(positions), folder / "model.onnx")
    shutil.copy(tokenizer, folder / "tokenizer.json")
    decoder = {"num_hidden_layers": 1, "num_key_value_heads": HEADS, "head_size": SIZE}
    model = {"decoder": decoder, "context_length": POSITIONS, "eos_token_id": 2}
    config = {"model": model, "search": {"past_present_share_buffer": False}}
    (folder / "genai_config.json").write_text(json.dumps(config))
    return folder


def _model(positions: bool) -> onnx.ModelProto:
    random = np.random.default_rng(0)
    weights = {
        "embedding": random.standard_normal((VOCABULARY, WIDTH)),
        "places": random.standard_normal((POSITIONS, WIDTH)),
        "head": random.standard_normal((WIDTH, VOCABULARY)),
        **{name: random.standard_normal((WIDTH, WIDTH)) / 2 for name in ("wq", "wk", "wv")},
    }
    constants: dict[str, NDArray] = {
        **{name: values.astype(np.float32) for name, values in weights.items()},
        "apart": np.array([0, 0, HEADS, SIZE]), "together": np.array([0, 0, WIDTH]),
        "zero": np.array(0), "one": np.array(1), "second": np.array([1]), "first": np.array([0]),
        "hidden": np.array(-1e9, np.float32), "seen": np.array(0, np.float32),
        "scale": np.array(SIZE**-0.5, np.float32), "ahead": np.array([1, 2]),
    }  # fmt: skip
    nodes = [
        _node("Shape", "input_ids", "shape"), _node("Gather", "shape second", "length_row"),
        _node("Squeeze", "length_row first", "length"),
        _node("Shape", "attention_mask", "mask_shape"),
        _node("Gather", "mask_shape second", "total_row"),
        _node("Squeeze", "total_row first", "total"),
        _node("Sub", "total length", "before"), _node("Range", "before total one", "rows"),
        _node("Range", "zero total one", "columns"),
        *([] if positions else [_node("Unsqueeze", "rows first", "position_ids")]),
        _node("Gather", "embedding input_ids", "words"),
        _node("Gather", "places position_ids", "placed"), _node("Add", "words placed", "x"),
        *(node for part in "qkv" for node in _heads(part)),
        _node("Concat", "past_key_values.0.key k", "present.0.key", axis=2),
        _node("Concat", "past_key_values.0.value v", "present.0.value", axis=2),
        _node("Transpose", "present.0.key", "keys", perm=[0, 1, 3, 2]),
        _node("MatMul", "q keys", "products"), _node("Mul", "products scale", "scaled"),
        _node("Unsqueeze", "rows second", "rows_down"),
        _node("LessOrEqual", "columns rows_down", "past_only"),
        _node("Where", "past_only seen hidden", "causal"),
        _node("Cast", "attention_mask", "kept", to=TensorProto.BOOL),
        _node("Where", "kept seen hidden", "padding"),
        _node("Unsqueeze", "padding ahead", "padding_wide"),
        _node("Add", "scaled causal", "masked"), _node("Add", "masked padding_wide", "scores"),
        _node("Softmax", "scores", "shares", axis=-1),
        _node("MatMul", "shares present.0.value", "mixed"),
        _node("Transpose", "mixed", "beside", perm=[0, 2, 1, 3]),
        _node("Reshape", "beside together", "attended"), _node("Add", "x attended", "y"),
        _node("MatMul", "y head", "logits"),
    ]  # fmt: skip
    integers = ["input_ids", "attention_mask", *(["position_ids"] if positions else [])]
    cache = ["batch", HEADS, "past", SIZE]
    sides = [f"0.{part}" for part in ("key", "value")]
    inputs = [_value(name, TensorProto.INT64, ["batch", "n"]) for name in integers]
    inputs += [_value(f"past_key_values.{side}", TensorProto.FLOAT, cache) for side in sides]
    outputs = [_value("logits", TensorProto.FLOAT, ["batch", "n", VOCABULARY])]
    outputs += [_value(f"present.{side}", TensorProto.FLOAT, cache) for side in sides]
    kept = [numpy_helper.from_array(values, name) for name, values in constants.items()]
    graph = helper.make_graph(nodes, "plain", inputs, outputs, kept)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _heads(part: str) -> list[onnx.NodeProto]:
    return [
        _node("MatMul", f"x w{part}", f"{part}_flat"),
        _node("Reshape", f"{part}_flat apart", f"{part}_apart"),
        _node("Transpose", f"{part}_apart", part, perm=[0, 2, 1, 3]),
    ]


def _node(operator: str, inputs: str, output: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(operator, inputs.split(), [output], **attributes)


def _value(name: str, kind: int, shape: list[object]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)
