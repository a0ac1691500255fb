"""Rates from timings: those that were put in come out, and the timed models run."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecomp.measure.kernel_timing import (
    ATTENTIVE,
    DEEP,
    SHALLOW,
    WIDE_LAYERS,
    attention_rates,
    decode_times,
)
from edgecomp.measure.synthetic_model import write_synthetic
from edgecomp.models.attention_pairs import prompt_pairs
from edgecomp.models.gguf.header import read_gguf_header
from edgecomp.runtimes.llama_cpp import runtime
from edgecomp.runtimes.protocol import TimedRun

ROW = 2 * ATTENTIVE.query_width * WIDE_LAYERS
rates = st.floats(1e8, 1e12)


@given(rates, rates, st.floats(1e-6, 1e-3))
def test_attentions_rates_come_out_of_a_prompts_and_a_tokens_time(
    decode: float, prefill: float, weights_seconds: float
) -> None:
    def runs(depth: int) -> list[TimedRun]:
        prompt = weights_seconds * depth + ROW * prompt_pairs(depth) / prefill
        token = weights_seconds + ROW * depth / decode
        usual = TimedRun(
            tokenize_seconds=0.0, prefill_seconds=prompt, token_seconds=(token, token, token)
        )
        hindered = TimedRun(
            tokenize_seconds=0.0, prefill_seconds=3 * prompt, token_seconds=(2 * token,) * 3
        )
        return [usual, hindered, usual]

    # What is below the clamp of a microsecond is not told apart.
    found = attention_rates(runs(SHALLOW), runs(DEEP // 2), runs(DEEP))
    if ROW * (DEEP - SHALLOW) / decode > 1e-5:
        assert found[0] == pytest.approx(decode, rel=0.01)
    if ROW * prompt_pairs(DEEP) / prefill > 1e-3:
        assert found[1] == pytest.approx(prefill, rel=0.01)


def test_most_of_a_long_prompt_is_attention_where_heads_are_wider_than_the_model(
    tmp_path: Path,
) -> None:
    path = tmp_path / "attentive.gguf"
    write_synthetic(path, ATTENTIVE)
    weights = sum(
        tensor.shape[0] * tensor.shape[1]
        for tensor in read_gguf_header(path).tensors
        if tensor.name.startswith("blk.") and len(tensor.shape) == 2
    )
    assert weights == ATTENTIVE.layer_weights
    assert 2 * ATTENTIVE.query_width * prompt_pairs(DEEP) > 1.5 * weights * DEEP
    ((first, *_),) = decode_times(runtime, path, 1, [SHALLOW], 512)
    assert first.prefill_seconds > 0
