"""Which memory each part of a model lives in, as llama.cpp places whole layers and experts."""

from __future__ import annotations

from typing import NamedTuple

from edgecomp.common.frozen_model import FrozenModel
from edgecomp.formats.layered_weights import LayeredWeights, Shares, add_shares


class Placement(FrozenModel):
    """A split of a model between the CPU and graphics cards, in llama.cpp's terms."""

    gpus: tuple[str, ...] = ()
    """The cards that hold layers, by their processors in the device profile, in their order."""

    gpu_layers: int = 0
    """`-ngl`: layers on the cards from the last on, the output head counted as one."""

    tensor_split: tuple[int, ...] = ()
    """`--tensor-split`: of those, the layers of each card that the runtime sees; empty for one."""

    cpu_expert_layers: int = 0
    """`--n-cpu-moe`: the first layers of the model whose experts stay with the CPU."""

    kv_on_gpu: bool = True
    """False: `--no-kv-offload`, the CPU keeps the whole KV cache and attends to it."""

    @property
    def layers_of_gpus(self) -> tuple[int, ...]:
        """Layers of each of `gpus`, the head counted as one."""
        shares = tuple(share for share in self.tensor_split if share)
        return shares or ((self.gpu_layers,) if self.gpus else ())

    @property
    def label(self) -> str:
        """How people name it; empty: everything on the CPU."""
        if not self.gpus:
            return ""
        layers = " + ".join(str(count) for count in self.layers_of_gpus)
        parts = [f"{layers} layers on GPU"]
        if self.cpu_expert_layers:
            parts.append(f"experts of {self.cpu_expert_layers} on CPU")
        if not self.kv_on_gpu:
            parts.append("KV cache on CPU")
        return ", ".join(parts)


class Part(NamedTuple):
    """What one processor computes, and its memory holds."""

    gpu: str | None
    """None: the CPU's part."""

    first: int
    last: int
    """Its layers are first..last-1."""

    experts: int
    """How many of the cards' layers have their experts in this part, although the rest is not."""

    weights: Shares
    head: Shares
    """The output head; empty where another part has it."""

    @property
    def layers(self) -> int:
        return self.last - self.first

    @property
    def idle(self) -> bool:
        return not (self.layers or self.weights or self.head)


def parts(weights: LayeredWeights, placement: Placement) -> tuple[Part, ...]:
    """The CPU's part, then each card's.

    llama.cpp (llama-model.cpp, `load_tensors`) gives the last `-ngl` layers to the cards, the head
    counted as the last of them, and the k-th of these n to the first card whose cumulative share
    of `--tensor-split` is greater than k / n: with whole layers as shares, each gets its number.
    Embeddings are only looked up, which costs no arithmetic.
    """
    total = len(weights.layers)
    begin = max(total + 1 - placement.gpu_layers, 0)
    kept = max(min(placement.cpu_expert_layers, total), begin)
    experts = weights.experts_between(begin, kept) if begin < total else {}
    own = weights.layers_between(0, min(begin, total))
    own = add_shares(own, experts) if experts else own
    head = weights.head if begin > total else {}
    found = [Part(None, 0, min(begin, total), kept - begin, own, head)]
    for name, count in zip(placement.gpus, placement.layers_of_gpus, strict=True):
        first, last = min(begin, total), min(begin + count, total)
        begin += count
        held = weights.layers_between(first, last)
        if kept > first:
            held = add_shares(held, weights.experts_between(first, min(last, kept)), sign=-1)
        found.append(Part(name, first, last, 0, held, weights.head if begin > total else {}))
    return tuple(found)
