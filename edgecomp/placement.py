"""Which memory each tensor of a model lives in, as llama.cpp places whole layers."""

from __future__ import annotations

from edgecomp.model import ModelSpec, TensorSpec
from edgecomp.value import Value


class Placement(Value):
    """A split of the layers between the CPU and one graphics card."""

    gpu: str | None = None
    """The card's processor in the device profile; None: everything runs on the CPU."""

    gpu_layers: int = 0
    """llama.cpp's `-ngl`: layers on the card from the last on, the output head counted as one."""


def is_active(tensor: TensorSpec, model: ModelSpec) -> bool:
    """True where a token reads the whole tensor; an embedding that is not the head is looked up."""
    return tensor.group != "embedding" or (
        model.tied_embeddings and tensor.name == "token_embd.weight"
    )


def active_share(tensor: TensorSpec, model: ModelSpec) -> float:
    """Share of the tensor that one token reads: experts are read in part."""
    if not is_active(tensor, model):
        return 0.0
    if tensor.group == "experts" and "_exps" in tensor.name and model.experts:
        return model.experts_used / model.experts
    return 1.0


def layer_of(tensor: TensorSpec) -> int | None:
    """The decoder layer a GGUF tensor belongs to; None for embeddings and the head."""
    parts = tensor.name.split(".")
    return int(parts[1]) if parts[0] == "blk" and parts[1].isdigit() else None


def on_gpu(tensor: TensorSpec, model: ModelSpec, placement: Placement) -> bool:
    """Whether llama.cpp puts the tensor on the GPU: the last layers, and the head first of all."""
    layer = layer_of(tensor)
    if layer is None:
        return placement.gpu_layers > 0 and is_active(tensor, model)
    return layer >= model.layers - max(placement.gpu_layers - 1, 0)
