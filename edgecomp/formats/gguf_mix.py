"""Which type llama.cpp's quantizer gives each tensor under a preset.

A preset such as Q4_K_M is a mixture: its rule looks at a tensor's role, its layer, the attention's
head grouping and whether an importance matrix is at hand, and falls back to another type where the
columns do not divide by the block. The rule is restated here so that sizes are known to the byte
before any work; it must agree with `llama_tensor_get_type` in llama.cpp's `src/llama-quant.cpp`
as built into llama-cpp-python 0.3.36, and a test holds it against the quantizer's own dry run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from edgecomp.formats.presets import Preset
from edgecomp.models.spec import ModelSpec, TensorSpec
from edgecomp.models.tensor_types import TENSOR_TYPES

# Tensors the quantizer leaves as they are, by a part of their name (`tensor_allows_quantization`).
KEPT = (
    "_norm.weight", "ffn_gate_inp.weight", "altup", "laurel", "per_layer_model_proj",
    "ssm_conv1d", "shortconv.conv.weight", "attn_rel_b.weight", ".position_embd",
)  # fmt: skip
KEPT_WHOLE = ("position_embd.weight", "token_types.weight")
LOW_BIT = ("IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "IQ1_S", "IQ1_M")
FEWEST_BIT = ("IQ2_XXS", "IQ2_XS", "IQ1_S", "IQ1_M")
TERNARY = ("TQ1_0", "TQ2_0")
EIGHT_EXPERT_OUTPUT = (
    "Q2_K", "IQ3_XS", "IQ3_XXS", "Q3_K_S", "Q3_K_M", "IQ4_NL", "Q4_K_S", "Q4_K_M", "IQ3_S",
    "IQ3_M", "IQ4_XS",
)  # fmt: skip


@dataclass
class _Model:
    """What the rule knows of the model, and how many of each role it has passed."""

    architecture: str
    layers: int
    grouping: int
    experts: int
    value_tensors: int
    tied: bool
    importance: bool
    keeps_types: bool
    seen: dict[str, int] = field(default_factory=dict)

    def next_of(self, role: str) -> int:
        index = self.seen.get(role, 0)
        self.seen[role] = index + 1
        return index


def mixed_types(
    model: ModelSpec,
    preset: Preset,
    overrides: Mapping[str, str] | None = None,
    *,
    importance: bool,
) -> dict[str, str]:
    """The type of each tensor of `model`, by its GGUF name, under `preset`.

    `importance` says whether an importance matrix is given; `overrides` maps regular expressions
    to types and wins over the preset's rule (not over the column rule).
    """
    state = _Model(
        architecture=model.architecture,
        layers=model.layers,
        grouping=model.heads // max(model.kv_heads, 1) if model.kv_heads else 1,
        experts=model.experts,
        value_tensors=sum(
            _role(t.name) in ("attn_v", "attn_qkv", "attn_kv_b") for t in model.tensors
        ),
        tied=not any(t.name == "output.weight" for t in model.tensors),
        importance=importance,
        keeps_types=model.source == "gguf",
    )
    patterns = [(re.compile(pattern), kind) for pattern, kind in (overrides or {}).items()]
    ordered = sorted(model.tensors, key=_loader_order)
    return {tensor.name: _type_of(tensor, preset, state, patterns) for tensor in ordered}


def fallbacks(model: ModelSpec, types: Mapping[str, str], preset: Preset) -> dict[str, str]:
    """The tensors whose columns do not divide by the preset's block, with the type they got."""
    block = TENSOR_TYPES[preset.base].block_elements
    return {
        tensor.name: types[tensor.name]
        for tensor in model.tensors
        if quantizable(tensor) and tensor.shape[-1] % block
    }


def quantizable(tensor: TensorSpec) -> bool:
    """True where llama.cpp's quantizer converts this tensor at all."""
    return len(tensor.shape) >= 2 and _quantizable_name(tensor.name)


# A plan asks the same about every tensor for each of 40 formats.
@lru_cache(maxsize=65536)
def _quantizable_name(name: str) -> bool:
    return (
        name.endswith("weight")
        and name not in KEPT_WHOLE
        and not any(part in name for part in KEPT)
    )


def _loader_order(tensor: TensorSpec) -> tuple[int, str]:
    """llama.cpp's loader sorts by block number, tensors outside blocks first, then by name."""
    return (-1 if tensor.layer is None else tensor.layer, tensor.name)


@lru_cache(maxsize=65536)
def _role(name: str) -> str:
    if name == "output.weight":
        return "output"
    if name in ("token_embd.weight", "per_layer_token_embd.weight"):
        return "token_embd"
    for role in ("attn_qkv", "attn_kv_b", "attn_v", "attn_k", "attn_q", "attn_output"):
        if f"{role}.weight" in name:
            return role
    for role in ("ffn_up", "ffn_gate", "ffn_down"):
        if role in name:
            return role
    return "other"


def _type_of(
    tensor: TensorSpec, preset: Preset, state: _Model, patterns: list[tuple[re.Pattern[str], str]]
) -> str:
    if not quantizable(tensor):
        # Vectors and a few matrices stay as they are: a GGUF source's own type, else our F32.
        return tensor.dtype if state.keeps_types else "F32"
    if TENSOR_TYPES[preset.base].is_float:
        return preset.base
    manual = next((kind for pattern, kind in patterns if pattern.search(tensor.name)), None)
    chosen = manual or _by_role(tensor, preset, state)
    columns = tensor.shape[-1]
    if columns % TENSOR_TYPES[chosen].block_elements:
        chosen = TENSOR_TYPES[chosen].fallback or chosen
    return chosen if columns % TENSOR_TYPES[chosen].block_elements == 0 else "F16"


def _by_role(tensor: TensorSpec, preset: Preset, state: _Model) -> str:
    role = _role(tensor.name)
    if role == "output" or (role == "token_embd" and state.tied):
        return _output(tensor, preset, state)
    if preset.name == "MXFP4_MOE":
        return "MXFP4" if len(tensor.shape) > 2 and tensor.shape[0] > 1 else "Q8_0"
    if role == "token_embd":
        return _token_embedding(preset)
    if preset.name in LOW_BIT:
        return _low_bit(tensor, role, preset, state)
    if role in ("attn_v", "attn_qkv", "attn_kv_b"):
        return _value(preset, state)
    if role == "attn_k":
        return "Q8_0" if state.experts == 8 else _key_or_query(preset)
    if role == "attn_q":
        return _key_or_query(preset)
    if role == "ffn_down":
        return _ffn_down(_layer(tensor, role, state), preset, state)
    if role == "attn_output":
        return _attention_output(preset, state)
    if role in ("ffn_gate", "ffn_up"):
        layer = _layer(tensor, role, state)
        middle = state.layers // 8 <= layer < 7 * state.layers // 8
        return "IQ3_XXS" if preset.name == "IQ3_XS" and middle else preset.base
    return preset.base


def _layer(tensor: TensorSpec, role: str, state: _Model) -> int:
    passed = state.next_of(role)
    # Experts of one layer come one after the other, so there the name is asked, not the count.
    return passed if tensor.layer is None or state.experts <= 1 else tensor.layer


def _more_bits(index: int, count: int) -> bool:
    return index < count // 8 or index >= 7 * count // 8 or (index - count // 8) % 3 == 2


def _output(tensor: TensorSpec, preset: Preset, state: _Model) -> str:
    divides = tensor.shape[-1] % TENSOR_TYPES[preset.base].block_elements == 0
    if preset.name == "MXFP4_MOE" or state.architecture == "falcon" or not divides:
        return "Q8_0"
    if preset.name in (*LOW_BIT, "IQ3_XXS"):
        return "Q5_K"
    return "Q8_0" if preset.base == "Q8_0" else "Q6_K"


def _token_embedding(preset: Preset) -> str:
    if preset.name in FEWEST_BIT:
        return "Q2_K"
    if preset.name in ("IQ2_S", "IQ2_M", "IQ3_XXS"):
        return "IQ3_S"
    return "Q4_K" if preset.name in TERNARY else preset.base


def _low_bit(tensor: TensorSpec, role: str, preset: Preset, state: _Model) -> str:
    larger = "IQ3_S" if preset.name in ("IQ2_S", "IQ2_M") else "Q2_K"
    if role in ("attn_v", "attn_qkv", "attn_kv_b"):
        state.next_of("value")
        return "Q4_K" if state.grouping >= 4 or state.experts >= 4 else larger
    if role == "attn_k" and state.experts == 8:
        return "Q4_K"
    if role == "ffn_down":
        return larger if state.next_of("ffn_down") < state.layers // 8 else preset.base
    if role == "attn_output":
        if state.experts == 8:
            return "Q5_K"
        if preset.name in ("IQ1_S", "IQ1_M"):
            return "IQ2_XXS"
        if preset.name in ("IQ2_S", "IQ2_M"):
            return "IQ3_S"
    return preset.base


def _value(preset: Preset, state: _Model) -> str:
    index = state.next_of("value")
    grouped = state.grouping >= 4
    chosen = preset.base
    match preset.name:
        case "Q2_K":
            chosen = "Q4_K" if grouped else "Q3_K"
        case "Q2_K_S" if grouped:
            chosen = "Q4_K"
        case "IQ3_XXS":
            chosen = "Q4_K" if grouped else ("IQ3_XXS" if state.importance else "IQ3_S")
        case "IQ3_XS" | "IQ3_S" if grouped:
            chosen = "Q4_K"
        case "IQ3_M":
            chosen = "Q4_K"
        case "Q3_K_M":
            chosen = "Q5_K" if index < 2 else "Q4_K"
        case "Q3_K_L":
            chosen = "Q5_K"
        case "IQ4_NL" | "IQ4_XS" if grouped:
            chosen = "Q5_K"
        case "Q4_K_M" | "Q5_K_M" if _more_bits(index, state.value_tensors):
            chosen = "Q6_K"
        case "Q4_K_S" if index < 4:
            chosen = "Q5_K"
    # llama.cpp calls 80 layers of Llama or Qwen2 "70B" and gives shared value heads more bits.
    shared = state.architecture == "qwen2" or (state.architecture == "llama" and state.grouping > 1)
    if shared and state.layers == 80 and chosen in ("Q3_K", "Q4_K"):
        chosen = "Q5_K"
    return "Q8_0" if state.experts == 8 else chosen


def _key_or_query(preset: Preset) -> str:
    return {"IQ3_XS": "IQ3_XXS", "IQ3_XXS": "IQ2_S"}.get(preset.name, preset.base)


def _ffn_down(layer: int, preset: Preset, state: _Model) -> str:
    count = state.layers
    early = layer < count // 8
    falcon = state.architecture == "falcon"
    more = _more_bits(layer, count)
    match preset.name:
        case "Q2_K":
            return "Q3_K"
        case "Q2_K_S" if early:
            return "Q4_K"
        case "IQ3_XXS" if not state.importance:
            return "Q4_K" if early else "Q3_K"
        case "Q3_K_M":
            if layer < count // 16:
                return "Q5_K"
            return "Q4_K" if not falcon or more else "Q3_K"
        case "IQ3_M" if early or (state.experts == 8 and more):
            return "Q4_K"
        case "Q3_K_L":
            return "Q4_K" if falcon else "Q5_K"
        case "Q4_K_M" if falcon:
            return "Q6_K" if layer < count // 16 else ("Q5_K" if more else "Q4_K")
        case "Q4_K_M" | "Q5_K_M" if more:
            return "Q6_K"
        case "IQ4_NL" | "IQ4_XS" if early and not state.importance:
            return "Q5_K"
        case "Q4_K_S" if early and not falcon:
            return "Q5_K"
        case "Q4_0" if early and state.importance:
            return "Q4_1"
        case "Q5_0" if early and state.importance:
            return "Q5_1"
    return preset.base


def _attention_output(preset: Preset, state: _Model) -> str:
    if state.architecture == "falcon":
        return "Q4_K" if preset.name == "Q3_K_L" else preset.base
    if state.experts == 8:
        return "Q5_K" if preset.name in EIGHT_EXPERT_OUTPUT else preset.base
    larger = {
        "Q2_K": "Q3_K",
        "IQ3_XXS": "IQ3_S",
        "Q3_K_M": "Q4_K",
        "Q3_K_L": "Q5_K",
        "IQ3_M": "Q4_K",
    }
    return larger.get(preset.name, preset.base)
