"""What structured pruning leaves of a model, from its headers alone: sizes before any work."""

from __future__ import annotations

import re

from edgecomp.common.errors import ArchitectureUnsupported, CompressionSettingsInvalid
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.models.spec import ModelSpec, TensorSpec

NARROWED_FAMILIES = ("llama", "qwen2", "qwen3")
"""GGUF names of the families whose every tensor compress/structured.py can slice."""

MULTIPLES = (256, 64, 32, 1)
"""A share of a width is rounded to the largest of these that divides the whole width, so that the
blocks of GGUF's types divide it as before."""

AXES = {
    "token_embd.weight": (None, "width"),
    "output.weight": (None, "width"),
    "output_norm.weight": ("width",),
    "attn_norm.weight": ("width",),
    "ffn_norm.weight": ("width",),
    "attn_q.weight": ("heads", "width"),
    "attn_k.weight": ("kv", "width"),
    "attn_v.weight": ("kv", "width"),
    "attn_output.weight": ("width", "heads"),
    "attn_q.bias": ("heads",),
    "attn_k.bias": ("kv",),
    "attn_v.bias": ("kv",),
    "attn_output.bias": ("width",),
    "ffn_gate.weight": ("ffn", "width"),
    "ffn_up.weight": ("ffn", "width"),
    "ffn_down.weight": ("width", "ffn"),
}
"""What each dimension of a tensor runs over, by the end of its GGUF name."""


class Sizes(FrozenModel):
    """What a pruned model keeps; None keeps all."""

    blocks: int | None = None
    neurons: int | None = None
    """FFN neurons of each block."""

    kv_groups: int | None = None
    """KV heads of each block, each with the query heads that share it."""

    channels: int | None = None
    """Channels of the embedding (the model's width)."""

    @property
    def narrows(self) -> bool:
        return any((self.neurons, self.kv_groups, self.channels))


def kept_of(text: str, total: int, what: str, *, whole_multiples: bool) -> int:
    """How many of `total` a text keeps: a share (`60%`) or a count (`12`).

    `whole_multiples`: a share is rounded to a multiple that GGUF's blocks divide. Raises
    CompressionSettingsInvalid for what is neither, or keeps none or more than there are.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(%?)\s*", text)
    if found and not found[2] and found[1].isdigit():
        count = int(found[1])
    elif found and found[2]:
        share = float(found[1]) / 100
        step = next(s for s in MULTIPLES if total % s == 0) if whole_multiples else 1
        count = max(step * round(share * total / step), step) if share else 0
    else:
        raise CompressionSettingsInvalid(
            f"{text!r} of the {what} is no size. Write what is kept: a share (60%) or a count."
        )
    if not 0 < count <= total:
        raise CompressionSettingsInvalid(
            f"{text} of the {total} {what} cannot be kept. Give 1 to {total}, or a share to 100%."
        )
    return count


def smaller_model(model: ModelSpec, sizes: Sizes) -> ModelSpec:
    """The headers of `model` once it is pruned to `sizes`; its path stays the source's.

    Raises ArchitectureUnsupported where a family's tensors are not known well enough to narrow.
    """
    if sizes.narrows and (model.architecture not in NARROWED_FAMILIES or model.experts):
        kind = f"{model.architecture} with experts" if model.experts else model.architecture
        raise ArchitectureUnsupported(kind, "made narrower", [*NARROWED_FAMILIES])
    blocks = sizes.blocks or model.layers
    kv_groups = sizes.kv_groups or model.kv_heads
    heads = kv_groups * (model.heads // model.kv_heads) if sizes.kv_groups else model.heads
    lengths = {
        "width": sizes.channels or model.embedding_length,
        "ffn": sizes.neurons or model.feed_forward_length,
        "kv": kv_groups * model.key_length,
        "heads": heads * model.key_length,
    }
    fields = {name: getattr(model, name) for name in ModelSpec.model_fields}
    return ModelSpec(
        **fields
        | {
            "layers": blocks,
            "sliding_pattern": model.sliding_pattern[:blocks],
            "embedding_length": lengths["width"],
            "feed_forward_length": lengths["ffn"],
            "heads": heads,
            "kv_heads": kv_groups,
            "tensors": tuple(
                _narrow(tensor, lengths) if sizes.narrows else tensor
                for tensor in model.tensors
                if tensor.layer is None or tensor.layer < blocks
            ),
        }
    )


def _narrow(tensor: TensorSpec, lengths: dict[str, int]) -> TensorSpec:
    axes = AXES.get(".".join(tensor.name.split(".")[-2:]))
    if axes is None:
        return tensor
    shape = tuple(
        lengths[axis] if axis else length for axis, length in zip(axes, tensor.shape, strict=True)
    )
    return tensor.model_copy(update={"shape": shape})
