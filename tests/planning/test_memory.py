"""Memory formulas against what llama.cpp itself reports, and their own laws."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecomp.formats.exporting import find_exporter
from edgecomp.formats.layered_weights import layered_weights
from edgecomp.measure.synthetic_model import SyntheticShape, write_synthetic
from edgecomp.models.reading import read_model
from edgecomp.models.spec import ModelSpec, TensorSpec
from edgecomp.planning.cache_memory import CELL_PADDING, kv_cache_bytes, pad_cells
from edgecomp.planning.memory import compute_bytes, estimate_memory, output_bytes, work_bytes
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.llama_cpp import runtime

SHAPES = {
    "grouped": SyntheticShape(
        layers=3, width=512, feed_forward=1376, heads=8, kv_heads=2, vocabulary=4096
    ),
    "every head its own keys": SyntheticShape(
        layers=2, width=256, feed_forward=704, heads=4, kv_heads=4, vocabulary=1000
    ),
    "large vocabulary": SyntheticShape(
        layers=2, width=256, feed_forward=512, heads=4, kv_heads=1, vocabulary=120_000
    ),
    "wide hidden": SyntheticShape(
        layers=2, width=256, feed_forward=2048, heads=4, kv_heads=2, vocabulary=2000
    ),
}
REPORTED_TO_BYTES = 0.005 * 2**20 + 1
"""llama.cpp prints hundredths of a MiB."""


@pytest.fixture(scope="session", params=SHAPES)
def shaped(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shaped") / "model.gguf"
    write_synthetic(path, SHAPES[request.param])
    return path


def source_types(model: ModelSpec) -> dict[str, str]:
    return {tensor.name: tensor.dtype for tensor in model.tensors}


@pytest.mark.parametrize("kv_type", ["F16", "Q8_0", "Q4_0"])
@pytest.mark.parametrize("context", [300, 2048])
def test_weights_and_kv_cache_equal_what_llama_cpp_allocates(
    shaped: Path, kv_type: str, context: int
) -> None:
    model = read_model(shaped)
    settings = RunSettings(context=context, threads=1, kv_type=kv_type)
    reported = runtime.buffers(shaped, settings)
    assert layered_weights(model, source_types(model)).stored_bytes == pytest.approx(
        reported["weights"], abs=REPORTED_TO_BYTES
    )
    assert kv_cache_bytes(model, settings) == pytest.approx(reported["kv"], abs=REPORTED_TO_BYTES)
    assert output_bytes(model, settings) == pytest.approx(reported["output"], abs=REPORTED_TO_BYTES)


@pytest.mark.parametrize("flash_attention", [True, False])
@pytest.mark.parametrize(
    ("context", "micro_batch", "outputs"),
    [(512, 512, 1), (2048, 512, 1), (8192, 256, 1), (2048, 512, 512), (4096, 1024, 64)],
)
def test_the_compute_buffer_is_within_two_percent_of_llama_cpps(
    shaped: Path, flash_attention: bool, context: int, micro_batch: int, outputs: int
) -> None:
    settings = RunSettings(
        context=context,
        micro_batch=micro_batch,
        outputs=outputs,
        threads=1,
        flash_attention=flash_attention,
    )
    reported = runtime.buffers(shaped, settings, allocate=False)["compute"]
    assert compute_bytes(read_model(shaped), settings) == pytest.approx(
        reported, rel=0.02, abs=REPORTED_TO_BYTES
    )


SLIDING = {"sliding_window": 64, "num_hidden_layers": 7}
FAMILY_SHAPES: dict[str, tuple[str, dict[str, int]]] = {
    "queries narrower, sliding": (
        "Gemma3TextConfig",
        SLIDING | {
            "hidden_size": 384, "intermediate_size": 1536, "num_attention_heads": 4,
            "num_key_value_heads": 2, "head_dim": 64, "query_pre_attn_scalar": 64,
        },
    ),
    "queries wider, sliding": (
        "Gemma3TextConfig",
        SLIDING | {
            "hidden_size": 320, "intermediate_size": 1024, "num_attention_heads": 4,
            "num_key_value_heads": 1, "head_dim": 128, "query_pre_attn_scalar": 128,
        },
    ),
    "queries wider": (
        "Qwen3Config",
        {
            "hidden_size": 320, "intermediate_size": 1216, "num_attention_heads": 4,
            "num_key_value_heads": 2, "head_dim": 128, "num_hidden_layers": 2,
        },
    ),
    "queries twice as wide": (
        "Qwen3Config",
        {
            "hidden_size": 256, "intermediate_size": 768, "num_attention_heads": 8,
            "num_key_value_heads": 4, "head_dim": 64, "num_hidden_layers": 2,
        },
    ),
    "queries as wide": (
        "LlamaConfig",
        {
            "hidden_size": 256, "intermediate_size": 768, "num_attention_heads": 4,
            "num_key_value_heads": 2, "num_hidden_layers": 2,
        },
    ),
}  # fmt: skip


@pytest.fixture(scope="session", params=FAMILY_SHAPES)
def family_gguf(
    request: pytest.FixtureRequest, tiny_model: Callable[..., Path], tmp_path_factory: Any
) -> Path:
    """A random model of a family whose queries are narrower or wider than its hidden state."""
    import torch
    import transformers

    kind, sizes = FAMILY_SHAPES[request.param]
    folder = tmp_path_factory.mktemp("family") / "checkpoint"
    ends = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": None}
    config = getattr(transformers, kind)(
        **sizes, **ends, vocab_size=600, max_position_embeddings=4096
    )
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float16)
    model.save_pretrained(folder)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(tiny_model("llama") / file, folder / file)
    find_exporter("gguf").export(read_model(folder), folder.with_suffix(".gguf"), "F16")
    return folder.with_suffix(".gguf")


@pytest.mark.parametrize(
    ("kv_type", "flash_attention"), [("F16", True), ("F16", False), ("Q8_0", True), ("Q4_0", True)]
)
@pytest.mark.parametrize("context", [512, 2048])
def test_every_familys_buffers_are_those_that_llama_cpp_reports(
    family_gguf: Path, context: int, kv_type: str, flash_attention: bool
) -> None:
    """Masks of both caches, rotation matrices of quantized ones, and blocks that do not fit."""
    model = read_model(family_gguf)
    settings = RunSettings(
        context=context, threads=1, kv_type=kv_type, flash_attention=flash_attention
    )
    reported = runtime.buffers(family_gguf, settings)
    assert compute_bytes(model, settings) == pytest.approx(
        reported["compute"], rel=0.02, abs=REPORTED_TO_BYTES
    )
    assert kv_cache_bytes(model, settings) == pytest.approx(
        reported["kv"], abs=2 * REPORTED_TO_BYTES
    )


def test_scores_without_flash_attention_are_converted_in_a_buffer_of_their_own() -> None:
    model = sliding_model(512, 6, 12)
    with_flash, without = (
        RunSettings(context=4096, threads=1, flash_attention=flash) for flash in (True, False)
    )
    assert work_bytes(model, without) == 512 * 2 * 4096 * 2
    assert work_bytes(model, with_flash) == 512 * 68


def sliding_model(window: int, every: int, layers: int) -> ModelSpec:
    tensor = TensorSpec(
        name="token_embd.weight", source_name="", shape=(100, 32), dtype="F16", group="embedding"
    )
    return ModelSpec(
        path=Path("none"), source="gguf", name="sliding", architecture="gemma3", layout="known",
        layers=layers, embedding_length=32, feed_forward_length=64, heads=2, kv_heads=1,
        key_length=32, value_length=32, vocabulary=100, context_length=32768,
        sliding_window=window, full_attention_every=every, experts=0, experts_used=0,
        tied_embeddings=True, tokenizer=None, chat_template=None, licence=None, quantization=None,
        file_bytes=0, tensors=(tensor,),
    )  # fmt: skip


@given(
    window=st.integers(1, 4096),
    every=st.integers(2, 6),
    layers=st.integers(1, 12),
    context=st.integers(1, 32768),
)
def test_a_sliding_layer_keeps_its_window_and_one_batch_whatever_the_context(
    window: int, every: int, layers: int, context: int
) -> None:
    model = sliding_model(window, every, layers)
    settings = RunSettings(context=context, threads=1)
    row = 2 * 2 * 32
    full = layers // every
    cells = full * pad_cells(context)
    cells += (layers - full) * min(pad_cells(context), pad_cells(window + settings.micro_batch))
    assert kv_cache_bytes(model, settings) == row * cells


@given(
    small=st.integers(1, 8000),
    more=st.integers(1, 8000),
    kv_type=st.sampled_from(["F16", "Q8_0", "Q4_0"]),
)
def test_more_context_never_takes_less_memory(small: int, more: int, kv_type: str) -> None:
    model = sliding_model(512, 6, 12)
    stored = layered_weights(model, source_types(model)).stored_bytes
    first, second = (
        estimate_memory(model, stored, RunSettings(context=size, threads=1, kv_type=kv_type))
        for size in (small, small + more)
    )
    assert first.total_bytes <= second.total_bytes
    assert first.weights_bytes == second.weights_bytes


@given(st.integers(1, 10**6))
def test_cells_are_padded_up_to_whole_steps(cells: int) -> None:
    assert pad_cells(cells) % CELL_PADDING == 0
    assert 0 <= pad_cells(cells) - cells < CELL_PADDING
