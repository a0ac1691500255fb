"""Whether a checkpoint's headers hold every weight that its config promises."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from edgecomp.common.errors import ModelIncomplete
from edgecomp.models.architectures import Architecture
from edgecomp.models.spec import TensorSpec

BLOCK = re.compile(r"blk\.\d+\.(.+)")
NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")
ALWAYS = ("token_embd.weight", "output_norm.weight")
OF_EVERY_LAYER = (("attn_q", "attn_qkv"), ("attn_output",), ("ffn_down", "ffn_down_exps"))
"""Roles that each decoder layer of a known family has, of each group one."""


def require_every_layer(
    folder: Path, tensors: Sequence[TensorSpec], layers: int, architecture: Architecture
) -> None:
    """Raises ModelIncomplete where a weight is missing that every layer of the family has or that
    the model's other layers have, or the embedding or the last norm: a shard that was not
    downloaded, weights under names of another layout, or the config of another model.

    The FFN of a mixture is let be: some of its layers may be dense.
    """
    names = {tensor.name for tensor in tensors}
    named = [(BLOCK.fullmatch(tensor.name), tensor.source_name) for tensor in tensors]
    sources = {match[1]: source for match, source in named if match}
    roles = set(sources)
    if any("_exps" in role for role in sources):
        sources = {role: name for role, name in sources.items() if not role.startswith("ffn_")}
    own = architecture.hf_tensors
    missing = [f"{own[name.split('.')[0]]}.weight" for name in ALWAYS if name not in names]
    missing += [
        f"{architecture.hf_layers}.0.{next(own[role] for role in group if role in own)}.weight"
        for group in OF_EVERY_LAYER
        if not any(f"{role}.weight" in roles for role in group)
    ]
    missing += [
        NUMBER.sub(str(layer), source, count=1)
        for layer in range(layers)
        for role, source in sources.items()
        if f"blk.{layer}.{role}" not in names
    ]
    if missing:
        raise ModelIncomplete(
            folder,
            f"config.json promises {layers} layers, and {len(missing)} of their weights are "
            f"missing, {missing[0]} first.",
            "Download the files that are missing, or restore the model's own config.json.",
        )
