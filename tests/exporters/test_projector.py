"""Towers that read pictures or sounds, written by llama.cpp's converter and loaded by its mtmd
beside their text models."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText

from edgecomp.checks.artifact_checks import check_finite
from edgecomp.checks.projector_check import check_projector
from edgecomp.common.errors import ExportRefused, RuntimeRefused
from edgecomp.common.events import ignore_progress
from edgecomp.exporters.gguf import export, export_projector
from edgecomp.models.float_conversion import float32_pieces
from edgecomp.models.gguf.header import read_gguf_header
from edgecomp.models.llama_cpp_families import llama_cpp_families
from edgecomp.models.reading import read_model
from edgecomp.runtimes.llama_cpp.client import LlamaCpp

pytestmark = pytest.mark.skipif(
    llama_cpp_families() is None, reason="no converter is kept here: `make install` keeps it"
)

FAMILIES = [
    "gemma3",
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in (
            "exaone4_5",
            "gemma4",
            "glm4v",
            "glm4v_moe",
            "idefics3",
            "internvl",
            "lfm2_vl",
            "llama4",
            "mistral3",
            "paddleocr_vl",
            "qwen2_5_vl",
            "qwen2_audio",
            "qwen2_vl",
            "qwen3_5",
            "qwen3_vl",
            "smolvlm",
            "voxtral",
        )
    ),
]
"""Among them: a text model that our own writer writes; a row of the text model's embedding that the
projector holds; sounds."""

SCRIPT = Path(__file__).parents[1] / "rows_of_picture.py"
HEADER_SHARE, KEPT_SHARE = 0.05, 0.15
"""The most that a tiny file's header takes beside its planned weights, and its embeddings less than
planned where a family keeps them at 16 bits."""


def written(folder: Path, file: Path) -> Path:
    export_projector(read_model(folder), file, ignore_progress)
    return file


@pytest.mark.parametrize("name", FAMILIES)
def test_towers_become_a_file_that_llama_cpp_loads_beside_the_text_model(
    tiny_family: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    model = read_model(tiny_family(name))
    file = written(model.path, tmp_path / "mmproj.gguf")
    assert model.projector and not model.projector.lacking
    size = file.stat().st_size
    planned = model.projector.file_bytes
    assert (1 - HEADER_SHARE) * size < planned < (1 + KEPT_SHARE) * size
    found = check_projector(file, model.embedding_length)
    assert found.passed, found.detail
    assert check_finite(file).passed
    text = export(model, tmp_path / "text.gguf", "F16").path
    loaded = LlamaCpp().load_projector(file, text)
    assert loaded.vision == ("vision" in model.projector.towers)
    assert loaded.audio == ("audio" in model.projector.towers)
    assert loaded.compute_bytes > 0


def test_the_weights_are_the_checkpoints(
    tiny_family: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = tiny_family("gemma3")
    header = read_gguf_header(written(folder, tmp_path / "mmproj.gguf"))
    row = next(tensor for tensor in header.tensors if tensor.name == "v.blk.0.ffn_down.weight")
    values = np.concatenate(list(float32_pieces(header, row)))
    stored = load_file(folder / "model.safetensors")
    name = next(name for name in stored if name.endswith("encoder.layers.0.mlp.fc2.weight"))
    expected = stored[name].half().float().numpy()
    assert np.array_equal(values.reshape(expected.shape), expected)


def test_llama_cpp_makes_of_a_picture_what_transformers_makes(
    tiny_family: Callable[[str], Path], tmp_path: Path
) -> None:
    """As large as the tower takes it, so that neither changes its size. The rest are 16 bits."""
    folder, size = tiny_family("gemma3"), 56
    picture = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    np.save(tmp_path / "picture.npy", picture)
    projector = written(folder, tmp_path / "mmproj.gguf")
    text = export(read_model(folder), tmp_path / "text.gguf", "F16").path
    files = [projector, text, tmp_path / "picture.npy", tmp_path / "rows.npy"]
    command = [sys.executable, str(SCRIPT), *map(str, files)]
    subprocess.run(command, check=True, capture_output=True)
    found = np.load(tmp_path / "rows.npy")
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    pixels = torch.from_numpy((picture / 255 - 0.5) / 0.5).float().permute(2, 0, 1)[None]
    with torch.no_grad():
        expected = model.model.get_image_features(pixel_values=pixels).pooler_output
    rows = expected.reshape(-1, expected.shape[-1]).numpy()
    assert np.abs(found - rows).max() < 0.01 * rows.std()


def test_a_projector_of_another_width_is_refused_by_check_and_runtime(
    tiny_family: Callable[[str], Path], tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    file = written(tiny_family("gemma3"), tmp_path / "mmproj.gguf")
    other = export(read_model(tiny_model("llama")), tmp_path / "other.gguf", "F16").path
    width = read_model(other).embedding_length
    found = check_projector(file, width)
    assert not found.passed and f"the text model takes {width}" in found.detail
    with pytest.raises(RuntimeRefused, match="mismatch between text model"):
        LlamaCpp().load_projector(file, other)


def test_a_projector_that_llama_cpp_dies_of_is_told_with_its_assertion(
    tiny_family: Callable[[str], Path], tmp_path: Path
) -> None:
    model = read_model(tiny_family("gemma3"))
    file = written(model.path, tmp_path / "mmproj.gguf")
    text = export(model, tmp_path / "text.gguf", "F16").path
    key = b"clip.vision.attention.head_count"
    content = bytearray(file.read_bytes())
    place = content.index(key) + len(key) + 4
    assert int.from_bytes(content[place : place + 4], "little") == 4
    content[place] = 3
    file.write_bytes(content)
    with pytest.raises(RuntimeRefused, match=r"ends its process .* GGML_ASSERT\("):
        LlamaCpp().load_projector(file, text)


def test_an_entry_that_is_missing_is_named_with_its_file(
    tiny_family: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_family("gemma3"), tmp_path / "folder")
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_std": [0.5] * 3}))
    with pytest.raises(ExportRefused, match=r"preprocessor_config\.json .* entry 'image_mean'"):
        written(folder, tmp_path / "mmproj.gguf")
    assert not (tmp_path / "mmproj.gguf").exists()


def test_a_tower_that_the_converter_does_not_write_is_told_in_its_words(
    tiny_family: Callable[[str], Path], tmp_path: Path
) -> None:
    with pytest.raises(ExportRefused, match="Unsupported model type: clip_vision_model"):
        written(tiny_family("llava"), tmp_path / "mmproj.gguf")
