"""The buffer that llama.cpp computes a model in on the CPU, from the graph that it builds.

What a layer does is read from the tensors that it has, as the files in llama.cpp's src/models do it
(as of llama-cpp-python 0.3.36); no family is named.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from edgecomp.models.spec import ModelSpec
from edgecomp.planning.graph_attention import attention
from edgecomp.planning.graph_builder import GraphBuilder, Layer
from edgecomp.planning.graph_feed_forward import feed_forward_beside_experts, feed_forwards
from edgecomp.planning.graph_memory import Graph, Value, buffer_bytes
from edgecomp.planning.graph_recurrent import (
    channel_delta_net,
    delta_net,
    scanned,
    short_convolution,
)
from edgecomp.planning.graph_streams import begun_streams, ended_streams, streamed_layer
from edgecomp.recipes.run_settings import RunSettings

PICK_LATE = frozenset(
    ("cohere2moe", "gemma4", "gpt-oss", "hy-v3", "nemotron_h", "nemotron_h_moe", "qwen35",
     "qwen35moe", "qwen3next", "step35")
)  # fmt: skip
"""Families whose last layer goes on with all tokens, as llama.cpp may draft with their states; that
of others with those alone whose logits are wanted. No tensor or entry of a file tells."""

DRAWN = frozenset(
    ("altup_correct_coef", "altup_predict_coef", "altup_router", "attn_gate", "attn_k", "attn_k_b",
     "attn_kv_a_mqa", "attn_kv_b", "attn_output", "attn_q", "attn_q_a", "attn_q_b", "attn_qkv",
     "attn_v", "attn_v_b", "ffn_down", "ffn_down_exps", "ffn_down_shexp", "ffn_gate",
     "ffn_gate_exps", "ffn_gate_inp", "ffn_gate_inp_shexp", "ffn_gate_shexp", "ffn_gate_up_exps",
     "ffn_up", "ffn_up_exps", "ffn_up_shexp", "indexer.attn_k", "indexer.attn_q_b", "indexer.proj",
     "inp_gate", "laurel_l", "laurel_r", "proj", "shortconv.conv", "shortconv.in_proj",
     "shortconv.out_proj", "ssm_a", "ssm_alpha", "ssm_ba", "ssm_beta", "ssm_conv1d", "ssm_conv1d_k",
     "ssm_conv1d_q", "ssm_conv1d_v", "ssm_d", "ssm_dt", "ssm_f_a", "ssm_f_b", "ssm_g_a", "ssm_g_b",
     "ssm_in", "ssm_norm", "ssm_out", "ssm_x")
)  # fmt: skip
"""The matrices of layers that are drawn here."""

PER_LAYER = "per_layer_token_embd.weight"
ENDS = frozenset(
    ("altup_proj.weight", "altup_unembd_proj.weight", "output.weight",
     "per_layer_model_proj.weight", PER_LAYER, "position_embd.weight", "token_embd.weight")
)  # fmt: skip
"""The matrices before and after the layers that are drawn here."""

LOOKS = ("attn_q.weight", "attn_qkv.weight", "attn_kv_a_mqa.weight")


class _Model(NamedTuple):
    """A model as the key of a cache: the very object, since a table of tensors takes longer to
    compare than a graph to draw."""

    spec: ModelSpec

    def __hash__(self) -> int:
        return id(self.spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Model) and self.spec is other.spec


def graph_bytes(model: ModelSpec, settings: RunSettings) -> int | None:
    """The buffer's bytes for a full batch; None where a matrix of a layer is not known here by its
    name in GGUF, or one is missing."""
    # A graph is the same by however many threads it is computed, and for every device of a table.
    return _graph_bytes(_Model(model), settings.model_copy(update={"threads": 1}))


@lru_cache(maxsize=256)
def _graph_bytes(model: _Model, settings: RunSettings) -> int | None:
    if not is_drawn(model.spec):
        return None
    try:
        return buffer_bytes(_drawn(model.spec, settings))
    except KeyError:
        return None


def _drawn(model: ModelSpec, settings: RunSettings) -> Graph:
    graph = GraphBuilder(model, settings)
    width, tokens = graph.width, graph.tokens
    x = graph.new((width, tokens), graph.input((tokens,)))
    whole = (width * (1 + model.picture_layers), tokens)
    if model.picture_layers:
        graph.pictures = graph.new(whole, x)
        x = graph.view(graph.pictures, x.shape)
    graph.graph.expand(x)
    graph.graph.expand(graph.input(whole))  # States may come in instead of tokens.
    ends = {tensor.name: tensor.shape for tensor in model.tensors if tensor.layer is None}
    if "position_embd.weight" in ends:
        x = graph.over(x.shape, x, graph.new(x.shape, graph.positions))
    if "token_embd_norm.weight" in ends:
        x = graph.norm(x, x.shape, ends, "token_embd_norm")
    if PER_LAYER in ends:
        graph.layer_inputs = _looked_up_inputs(graph, x, ends[PER_LAYER][-1])
    streams = "altup_proj.weight" in ends
    x = begun_streams(graph, x, ends) if streams else x
    for index, layer in enumerate(_layers(model)):
        x = (streamed_layer if streams else _layer)(graph, x, layer, index)
        if graph.pictures is not None and index < model.picture_layers:
            x = graph.over(x.shape, x, graph.view(graph.pictures, x.shape))
    x = ended_streams(graph, x) if streams else x
    # Of families whose layers have one norm or none it is of the shifted kind, though without bias.
    shifted = not _entering_norm(layer, before=True) or "output_norm.weight" not in ends
    x = graph.norm(graph.new(x.shape, x) if shifted else x, x.shape, ends, "output_norm")
    if x.shape[1] != graph.outputs:
        x = graph.new((width, graph.outputs), x, graph.wanted)
    graph.graph.expand(graph.new((model.vocabulary, graph.outputs), x))
    return graph.graph


def is_drawn(model: ModelSpec) -> bool:
    """Whether all matrices of the model's layers are known here by their names in GGUF."""
    layers = _layers(model)
    matrices = {name for layer in layers for name, shape in layer.items() if len(shape) > 1}
    drawn = all(n.removesuffix(".weight") in DRAWN for n in matrices if not n.endswith(".bias"))
    named = all(t.layer is not None or t.name in ENDS for t in model.tensors if len(t.shape) > 1)
    return bool(matrices) and drawn and named and all(layers)


def _layers(model: ModelSpec) -> list[Layer]:
    layers: list[dict[str, tuple[int, ...]]] = [{} for _ in range(model.layers)]
    for tensor in model.tensors:
        if tensor.layer is not None and tensor.layer < model.layers:
            name = tensor.name.split(".", 2)[2]
            layers[tensor.layer][f"{name}.weight" if name == "ffn_norm" else name] = tensor.shape
    return list(layers)


def _layer(graph: GraphBuilder, x: Value, layer: Layer, index: int) -> Value:
    shape = x.shape
    last = index == graph.model.layers - 1 and graph.model.architecture not in PICK_LATE
    # Where there is no norm at all they have no weights.
    before = "attn_norm.weight" in layer or "post_attention_norm.weight" not in layer
    normed = graph.norm(x, shape, layer, "attn_norm") if before else x
    y = _mixed(graph, normed, layer, index)
    feeds = "ffn_down.weight" in layer or "ffn_down_exps.weight" in layer
    if y is None:
        y, feeds = feed_forwards(graph, normed, layer, graph.tokens), False
    if "ssm_in.weight" in layer and "attn_output.weight" in layer:
        again = graph.norm(x, shape, layer, "attn_norm")
        y = graph.over(shape, y, scanned(graph, again, layer, index))
    enters = _entering_norm(layer, before=before)
    beside = feeds and not enters
    if last:
        shape = (graph.width, graph.outputs)
        y, x = graph.new(shape, y, graph.wanted), graph.new(shape, x, graph.wanted)
        normed = graph.new(shape, normed, graph.wanted) if beside else normed
    if beside:
        z = feed_forwards(graph, normed, layer, shape[1])
        if "attn_output.bias" in layer:
            z, y = y, z
        elif "attn_norm.bias" not in layer:
            y, x = x, y
        return graph.over(shape, graph.over(shape, z, y), x)
    if enters != "post_attention_norm" and "post_attention_norm.weight" in layer:
        y = graph.norm(y, shape, layer, "post_attention_norm")
    x = graph.over(shape, y, x)
    if not feeds:
        return x
    if "pre_ffw_norm_2.weight" in layer:
        y = feed_forward_beside_experts(graph, x, layer, shape[1])
    else:
        y = graph.norm(x, shape, layer, enters) if before else x
        y = feed_forwards(graph, y, layer, shape[1])
    if "post_ffw_norm.weight" in layer:
        y = graph.norm(y, shape, layer, "post_ffw_norm")
    return _with_own_input(graph, graph.over(shape, y, x), layer)


def _with_own_input(graph: GraphBuilder, x: Value, layer: Layer) -> Value:
    """With what the layer looks up of each token by itself, weighed by the states."""
    if "inp_gate.weight" not in layer or graph.layer_inputs is None:
        return x
    gate = graph.product(x, layer, "inp_gate", x.shape[1])
    gate = graph.over(gate.shape, gate)
    own = graph.view(graph.layer_inputs, gate.shape)
    y = graph.product(graph.over(gate.shape, gate, own), layer, "proj", x.shape[1])
    return graph.over(x.shape, x, graph.norm(y, x.shape, layer, "post_norm"))


def _looked_up_inputs(graph: GraphBuilder, x: Value, rows: int) -> Value:
    """What all layers look up of each token: `rows` values."""
    shape = (rows, graph.tokens)
    found = graph.new(shape, graph.input((graph.tokens,)))
    found = graph.over(shape, graph.view(found, shape))
    graph.graph.expand(found)
    of_states = graph.new(shape, x)
    of_states = graph.over(shape, graph.over(shape, graph.view(of_states, shape)))
    both = graph.over(shape, of_states, found)
    return graph.new(shape, graph.view(both, shape))


def _entering_norm(layer: Layer, *, before: bool) -> str:
    """The norm between attention and feed-forward block; empty where both read the same states."""
    if "attn_norm.weight" not in layer:
        return "ffn_norm"
    names = ("ffn_norm", "attn_output_norm", "post_attention_norm")
    return next((name for name in names if f"{name}.weight" in layer), "")


def _mixed(graph: GraphBuilder, x: Value, layer: Layer, index: int) -> Value | None:
    """What the layer makes of other tokens; None where it looks at none."""
    if "shortconv.in_proj.weight" in layer:
        return short_convolution(graph, x, layer)
    if "ssm_conv1d_q.weight" in layer:
        return channel_delta_net(graph, x, layer, index)
    if "ssm_conv1d.weight" in layer and "attn_output.weight" not in layer:
        return (scanned if "ssm_d" in layer else delta_net)(graph, x, layer, index)
    return attention(graph, x, layer, index) if any(name in layer for name in LOOKS) else None
