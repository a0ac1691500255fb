"""Feed-forward blocks and mixtures of experts in llama.cpp's graphs (build_ffn and build_moe_ffn of
src/llama-graph.cpp)."""

from __future__ import annotations

from edgecomp.planning.graph_builder import GraphBuilder, Layer
from edgecomp.planning.graph_memory import Value

SHARED = "_shexp"


def feed_forwards(graph: GraphBuilder, x: Value, layer: Layer, tokens: int) -> Value:
    """The sum of what the layer's experts, shared expert and feed-forward block make of `x`."""
    parts = []
    if "ffn_down_exps.weight" in layer:
        parts.append(_experts(graph, x, layer, tokens))
    for suffix in (SHARED, ""):
        if f"ffn_up{suffix}.weight" in layer:
            parts.append(_feed_forward(graph, x, layer, tokens, suffix))
    y = parts[0]
    for part in parts[1:]:
        y = graph.over(y.shape, y, part)
    return y


def feed_forward_beside_experts(graph: GraphBuilder, x: Value, layer: Layer, tokens: int) -> Value:
    """The sum of a feed-forward block and of experts, each between norms of its own, the router
    before both."""
    y = graph.norm(x, x.shape, layer, "ffn_norm")
    y = graph.norm(_feed_forward(graph, y, layer, tokens, ""), x.shape, layer, "post_ffw_norm_1")
    routed = graph.norm(x, x.shape, layer, "pre_ffw_norm_2")
    scores = graph.over(x.shape, graph.over(x.shape, x))
    scores = graph.product(scores, layer, "ffn_gate_inp", tokens)
    z = _experts(graph, routed, layer, tokens, scores)
    return graph.over(x.shape, y, graph.norm(z, x.shape, layer, "post_ffw_norm_2"))


def _feed_forward(graph: GraphBuilder, x: Value, layer: Layer, tokens: int, suffix: str) -> Value:
    up = graph.product(x, layer, f"ffn_up{suffix}", tokens)
    hidden = (layer[f"ffn_down{suffix}.weight"][-1], tokens)
    if f"ffn_gate{suffix}.weight" in layer:
        y = graph.new(hidden, graph.product(x, layer, f"ffn_gate{suffix}", tokens), up)
    elif up.shape[0] == 2 * hidden[0]:
        y = graph.new(hidden, up)
    else:
        y = graph.over(hidden, up)
    y = graph.product(y, layer, f"ffn_down{suffix}", tokens)
    if suffix == SHARED and "ffn_gate_inp_shexp.weight" in layer:
        y = graph.over(y.shape, y, graph.over((1, tokens), graph.new((1, tokens), x)))
    return y


def _experts(
    graph: GraphBuilder, x: Value, layer: Layer, tokens: int, scores: Value | None = None
) -> Value:
    """The experts that each token is routed to, and their sum by the router's weights."""
    used, width = graph.model.experts_used, graph.width
    scores = scores or graph.product(x, layer, "ffn_gate_inp", tokens)
    scores = graph.over(scores.shape, scores)
    biased = graph.over(scores.shape, scores) if "exp_probs_b.bias" in layer else scores
    chosen = graph.view(graph.new(scores.shape, biased), (used, tokens))
    weights = graph.new((1, used, tokens), graph.view(scores, scores.shape), chosen)
    graph.graph.expand(weights)
    hidden = _expert_rows(graph, graph.view(x, (width, 1, tokens)), chosen, layer)
    shape = (width, used, tokens)
    y = graph.new(shape, hidden, chosen)
    if "ffn_down_exps.bias" in layer:
        y = graph.over(shape, y, chosen)
    y = graph.over(shape, y, weights)
    graph.graph.expand(y)
    parts = [graph.view(y, (width, tokens)) for _ in range(used)]
    for part in parts:
        graph.graph.expand(part)
    total = parts[0]
    for part in parts[1:]:
        total = graph.over((width, tokens), total, part)
        graph.graph.expand(total)
    return total if used > 1 else graph.new((width, tokens), total)


def _expert_rows(graph: GraphBuilder, x: Value, chosen: Value, layer: Layer) -> Value:
    """What enters the experts' last matrices."""
    shape = (layer["ffn_down_exps.weight"][-1], *chosen.shape)
    if "ffn_gate_up_exps.weight" in layer:
        both = graph.new((2 * shape[0], *chosen.shape), x, chosen)
        return graph.new(shape, graph.view(both, shape), graph.view(both, shape))
    up = _of_experts(graph, x, chosen, layer, "ffn_up_exps")
    if "ffn_gate_exps.weight" not in layer:
        return graph.over(shape, up)
    return graph.new(shape, _of_experts(graph, x, chosen, layer, "ffn_gate_exps"), up)


def _of_experts(graph: GraphBuilder, x: Value, chosen: Value, layer: Layer, name: str) -> Value:
    shape = (layer[f"{name}.weight"][-2], *chosen.shape)
    y = graph.new(shape, x, chosen)
    return graph.over(shape, y, chosen) if f"{name}.bias" in layer else y
