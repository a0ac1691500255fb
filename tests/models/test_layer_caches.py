"""What each layer keeps, by metadata and by config.json, against what llama.cpp reports."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest

from edgecomp.exporters.gguf import export
from edgecomp.models.llama_cpp_families import llama_cpp_families
from edgecomp.models.reading import read_model
from edgecomp.planning.cache_memory import kv_cache_bytes, kv_layer_bytes
from edgecomp.planning.memory import compute_bytes
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.llama_cpp.client import LlamaCpp

REPORTED_TO_BYTES = 2 * 0.005 * 2**20 + 2
"""llama.cpp prints hundredths of a MiB, of keys and values and of states apart."""

needs_converter = pytest.mark.skipif(
    llama_cpp_families() is None, reason="no converter is kept here: `make install` keeps it"
)


def headed(path: Path, family: str, **entries: object) -> Path:
    """A GGUF file of 4 layers, width 256 and 4 heads of 64, of which only the metadata counts."""
    writer = gguf.GGUFWriter(path, family)
    usual = {"block_count": 4, "embedding_length": 256, "attention.head_count": 4}
    for key, value in (usual | entries).items():
        name = f"{family}.{key.replace('__', '.')}"
        if isinstance(value, list):
            writer.add_array(name, value)
        else:
            writer.add_uint32(name, int(str(value)))
    writer.add_tensor("token_embd.weight", np.zeros((32, 256), np.float16))
    for layer in range(4):
        writer.add_tensor(f"blk.{layer}.attn_norm.weight", np.zeros(256, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


ONE_LAYER = 4096 * 2 * 64 * 2
"""Bytes of one head's keys and values in F16 for 4,096 tokens."""


@pytest.mark.parametrize(
    ("family", "entries", "heads"),
    [
        ("lfm2", {"attention__head_count_kv": [0, 0, 2, 0], "shortconv__l_cache": 3}, 2),
        ("qwen35", {"attention__head_count_kv": 2, "full_attention_interval": 4}, 2),
        ("gemma3n", {"attention__head_count_kv": 1, "attention__shared_kv_layers": 2}, 2),
        ("llama", {"attention__head_count_kv": [1, 2, 3, 0]}, 6),
        ("newborn", {"attention__head_count_kv": 2}, 8),
    ],
)
def test_only_layers_with_heads_of_their_own_count(
    tmp_path: Path, family: str, entries: dict[str, object], heads: int
) -> None:  # P3
    model = read_model(headed(tmp_path / "made.gguf", family, **entries))
    settings = RunSettings(context=4096, threads=1)
    states = sum(4 * cache.state_values for cache in model.layer_caches)
    assert kv_cache_bytes(model, settings) - states == heads * ONE_LAYER


@pytest.mark.parametrize(
    ("family", "entries", "slides"),
    [
        ("gpt-oss", {"attention__sliding_window": 128}, "sfsf"),
        ("gemma3", {"attention__sliding_window": 128}, "ssss"),
        (
            "gemma3",
            {"attention__sliding_window": 128, "attention__sliding_window_pattern": 2},
            "sfsf",
        ),
        (
            "gemma3",
            {
                "attention__sliding_window": 128,
                "attention__sliding_window_pattern": [True, False, False, True],
            },
            "sffs",
        ),
        ("cohere2moe", {"attention__sliding_window": 128}, "fsss"),
        ("llama", {"attention__sliding_window": 128}, "ffff"),
    ],
)
def test_the_files_pattern_wins_over_the_familys(
    tmp_path: Path, family: str, entries: dict[str, object], slides: str
) -> None:  # P3
    model = read_model(headed(tmp_path / "made.gguf", family, **entries))
    assert "".join("s" if model.slides(layer) else "f" for layer in range(4)) == slides


SLOW = ("falcon_h1", "mamba2", "jamba", "gemma4_text", "gpt_oss", "nemotron_h", "llama4_text")
LOADED = [
    "lfm2",
    "qwen3_5_text",
    "deepseek_v2",
    *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW),
]
"""Convolutions; gated delta rule; a latent cache; state and attention in one layer; states alone;
every few layers; shared caches; a window; layers that only feed forward; chunks."""


@needs_converter
@pytest.mark.parametrize("name", LOADED)
def test_caches_and_states_are_what_llama_cpp_allocates(
    tiny_family: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    folder = tiny_family(name)
    file = export(read_model(folder), tmp_path / "made.gguf", "F32").path
    for context, micro_batch, flash in ((256, 64, True), (1024, 64, True), (4096, 512, False)):
        settings = RunSettings(
            context=context, micro_batch=micro_batch, threads=1, flash_attention=flash
        )
        planned = kv_cache_bytes(read_model(file), settings)
        reported = LlamaCpp().buffers(file, settings).get("kv", 0)
        assert planned == pytest.approx(reported, abs=REPORTED_TO_BYTES)
        assert kv_layer_bytes(read_model(folder), settings) == kv_layer_bytes(
            read_model(file), settings
        )


@needs_converter
@pytest.mark.slow
@pytest.mark.parametrize("name", ["arcee", "bloom", "dots1", "olmoe", "gpt_oss"])
def test_the_compute_buffer_follows_the_feed_forward_blocks(
    tiny_family: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    """Without a gate; a wide one without; experts beside dense blocks; experts alone."""
    folder = tiny_family(name)
    file = export(read_model(folder), tmp_path / "made.gguf", "F32").path
    for context in (256, 1024):
        settings = RunSettings(context=context, micro_batch=64, threads=1)
        reported = LlamaCpp().buffers(file, settings)["compute"]
        assert compute_bytes(read_model(file), settings) == pytest.approx(
            reported, rel=0.02, abs=REPORTED_TO_BYTES
        )
