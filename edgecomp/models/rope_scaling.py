"""How a model stretches its rotary position embedding, read from config.json.

transformers 5 keeps everything in `rope_parameters` (Gemma 3: one set for each kind of layer);
older files have `rope_theta` beside `rope_scaling`. Both come out as one dictionary here.
"""

from __future__ import annotations

import math
from typing import Any

Parameters = dict[str, Any]


def rope_parameters(config: Parameters) -> Parameters:
    """The rotary parameters of layers that attend to everything.

    Always holds `rope_theta` and `rope_type` ("default" where nothing is stretched).
    """
    stored: Parameters = config.get("rope_parameters") or {}
    older: Parameters = config.get("rope_scaling") or {}
    chosen = {**older, **stored.get("full_attention", stored)}
    chosen.setdefault("rope_theta", config.get("rope_theta") or 10_000.0)
    chosen.setdefault("rope_type", chosen.get("type") or "default")
    for key in ("original_max_position_embeddings", "partial_rotary_factor"):
        if config.get(key) is not None:
            chosen.setdefault(key, config[key])
    return chosen


def sliding_rope_theta(config: Parameters) -> float | None:
    """The base of layers with a sliding window, where it is one of their own (Gemma 3)."""
    stored = (config.get("rope_parameters") or {}).get("sliding_attention") or {}
    theta = stored.get("rope_theta", config.get("rope_local_base_freq"))
    return None if theta is None else float(theta)


def rotary_length(config: Parameters, head_length: int) -> int:
    """How many of a head's elements are rotated."""
    return int(head_length * float(rope_parameters(config).get("partial_rotary_factor") or 1.0))


def frequency_factors(config: Parameters, head_length: int) -> dict[str, list[float]]:
    """The tensors [rotated / 2] by which llama.cpp divides frequencies, by their GGUF names.

    llama3: transformers' `modeling_rope_utils._compute_llama3_parameters`, as factors; longrope:
    the two lists of the config. Other kinds need no tensor.
    """
    parameters = rope_parameters(config)
    if parameters["rope_type"] == "llama3":
        return {
            "rope_freqs.weight": _llama3_factors(parameters, rotary_length(config, head_length))
        }
    if parameters["rope_type"] in ("longrope", "su") and parameters.get("long_factor"):
        return {
            "rope_factors_long.weight": list(parameters["long_factor"]),
            "rope_factors_short.weight": list(parameters["short_factor"]),
        }
    return {}


def _llama3_factors(parameters: Parameters, rotated: int) -> list[float]:
    factor = float(parameters["factor"])
    low, high = float(parameters["low_freq_factor"]), float(parameters["high_freq_factor"])
    original = float(parameters["original_max_position_embeddings"])
    factors = []
    for pair in range(rotated // 2):
        wavelength = 2 * math.pi * float(parameters["rope_theta"]) ** (2 * pair / rotated)
        if wavelength < original / high:
            factors.append(1.0)
        elif wavelength > original / low:
            factors.append(factor)
        else:
            smooth = (original / wavelength - low) / (high - low)
            factors.append(1 / ((1 - smooth) / factor + smooth))
    return factors


def longrope_attention_factor(parameters: Parameters, context_length: int) -> float:
    """LongRoPE's scale of queries and keys, arXiv 2402.13753, section 3.3."""
    original = int(parameters["original_max_position_embeddings"])
    scale = context_length / original
    return math.sqrt(1 + math.log(scale) / math.log(original)) if scale > 1 else 1.0


def yarn_scale(factor: float, weight: float = 1.0) -> float:
    """YaRN's scale of queries and keys, arXiv 2309.00071, equation 22."""
    return 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0


def yarn_attention_factor(parameters: Parameters) -> float:
    """The scale as transformers takes it (`_compute_yarn_parameters`): the explicit one, else the
    ratio of the two `mscale` entries, else YaRN's own."""
    if parameters.get("attention_factor") is not None:
        return float(parameters["attention_factor"])
    factor = float(parameters["factor"])
    weight, weight_all = parameters.get("mscale"), parameters.get("mscale_all_dim")
    if weight and weight_all:
        return yarn_scale(factor, float(weight)) / yarn_scale(factor, float(weight_all))
    return yarn_scale(factor)
