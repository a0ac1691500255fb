"""Position scaling as transformers computes it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from edgecomp.models.rope_scaling import (
    frequency_factors,
    longrope_attention_factor,
    rope_parameters,
    rotary_length,
    sliding_rope_theta,
)


@given(
    factor=st.sampled_from([2.0, 8.0, 32.0]),
    low=st.sampled_from([1.0, 2.0]),
    high=st.sampled_from([4.0, 8.0]),
    original=st.sampled_from([64, 512, 8192]),
    head=st.sampled_from([16, 64, 128]),
)
def test_llama3_factors_divide_the_frequencies_as_transformers_does(
    factor: float, low: float, high: float, original: int, head: int
) -> None:
    rope = {
        "rope_type": "llama3", "rope_theta": 500_000.0, "factor": factor, "low_freq_factor": low,
        "high_freq_factor": high, "original_max_position_embeddings": original,
    }  # fmt: skip
    config = LlamaConfig(hidden_size=head * 2, num_attention_heads=2, rope_parameters=rope)
    expected, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    factors = frequency_factors({"rope_parameters": rope}, head)["rope_freqs.weight"]
    plain = 1 / 500_000.0 ** (np.arange(0, head, 2) / head)
    np.testing.assert_allclose(plain / np.asarray(factors), expected.numpy(), rtol=2e-6)


def test_old_and_new_configs_say_the_same() -> None:
    old = {"rope_theta": 1e6, "rope_scaling": {"type": "linear", "factor": 4.0}}
    new = {"rope_parameters": {"rope_theta": 1e6, "rope_type": "linear", "factor": 4.0}}
    wanted = {"rope_theta": 1e6, "rope_type": "linear", "factor": 4.0}
    assert {key: rope_parameters(old)[key] for key in wanted} == wanted
    assert {key: rope_parameters(new)[key] for key in wanted} == wanted


def test_gemma3_has_a_base_of_its_own_for_sliding_layers() -> None:
    new = {
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        }
    }
    old = {"rope_theta": 1e6, "rope_local_base_freq": 1e4, "rope_scaling": {"rope_type": "linear"}}
    assert rope_parameters(new)["rope_theta"] == rope_parameters(old)["rope_theta"] == 1e6
    assert rope_parameters(new)["rope_type"] == "linear"
    assert sliding_rope_theta(new) == sliding_rope_theta(old) == 1e4


def test_a_part_of_the_head_may_stay_unrotated() -> None:
    assert rotary_length({"partial_rotary_factor": 0.75}, 128) == 96
    assert rotary_length({}, 128) == 128


def test_models_without_stretching_need_no_tensor() -> None:
    assert frequency_factors({"rope_theta": 10_000.0}, 64) == {}


def test_longrope_scales_attention_only_beyond_the_original_context() -> None:
    parameters = {"original_max_position_embeddings": 4096}
    assert longrope_attention_factor(parameters, 4096) == 1.0
    # Phi-3-mini-128k: sqrt(1 + ln 32 / ln 4096)
    assert longrope_attention_factor(parameters, 131_072) == pytest.approx(1.190238, abs=1e-6)
