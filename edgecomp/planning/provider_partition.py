"""Which nodes of a decoder's graph an execution provider takes, and which stay with the CPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from edgecomp.common.frozen_model import FrozenModel
from edgecomp.formats.execution_providers import (
    DECODER_OPERATORS,
    ExecutionProvider,
    execution_provider,
)
from edgecomp.formats.onnx_formats import onnx_format
from edgecomp.models.spec import ModelSpec


class Partition(FrozenModel):
    """The division of a graph: nodes by operator, those of DECODER_OPERATORS alone."""

    provider: str
    taken: dict[str, int]
    left: dict[str, int]
    """With the CPU."""

    fixed_shapes: bool = False
    """All are left since the provider takes fixed shapes only."""

    @property
    def handovers(self) -> int:
        """How often a token changes sides, about: in and out of each node that is alone."""
        return 2 * min(sum(self.taken.values()), sum(self.left.values()))

    @property
    def sentence(self) -> str:
        title = execution_provider(self.provider).title
        if self.fixed_shapes:
            return (
                f"{title} takes nodes of fixed shapes only, and this graph's depend on the prompt: "
                "all of it stays with the CPU until they are fixed "
                "(python -m onnxruntime.tools.make_dynamic_shape_fixed)."
            )
        if not self.left:
            return f"{title} takes every product and attention; sums of lengths stay with the CPU."
        if not self.taken:
            return f"{title} takes no product: all of it stays with the CPU."
        return (
            f"{title} takes {_counted(self.taken)}; with the CPU stay {_counted(self.left)}, about "
            f"{self.handovers} changes of sides a token."
        )


def partition(nodes: Mapping[str, int], provider: ExecutionProvider) -> Partition:
    """How a provider divides a graph with so many nodes of each operator."""
    known = {name: nodes[name] for name in DECODER_OPERATORS if nodes.get(name)}
    lacks = provider.lacks
    left = known if provider.fixed_shapes else {n: c for n, c in known.items() if n in lacks}
    taken = {name: count for name, count in known.items() if name not in left}
    return Partition(
        provider=provider.name, taken=taken, left=left, fixed_shapes=provider.fixed_shapes
    )


def counted_nodes(operators: Iterable[str]) -> dict[str, int]:
    """Nodes by operator."""
    return dict(Counter(operators))


def expected_nodes(
    model: ModelSpec, format_name: str, provider: ExecutionProvider
) -> dict[str, int]:
    """The nodes that the builder draws for a decoder of Llama's plan; families with norms of their
    own have some more."""
    row, layers = onnx_format(format_name), model.layers
    separate = provider.graph == "dml"
    product = "MatMulNBits" if row.block_size else "MatMul"
    nodes = {
        product: layers * (7 if separate else 5) + 1,
        "GroupQueryAttention": layers,
        "SimplifiedLayerNormalization": 1,
        "SkipSimplifiedLayerNormalization": 2 * layers,
    }
    if separate:
        nodes["RotaryEmbedding"] = 2 * layers
    if row.precision == "int4" and model.tied_embeddings:
        nodes["GatherBlockQuantized"] = 1
    return nodes


def _counted(nodes: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in nodes.items())
