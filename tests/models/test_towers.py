"""Towers that read pictures or sounds, as the headers of a checkpoint show them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgecomp.models.huggingface.model import language_config
from edgecomp.models.huggingface.towers import (
    beside_text,
    prediction_heads_note,
    projector_class,
    read_towers,
)
from edgecomp.models.llama_cpp_families import INDEX, PROJECTOR_TABLE, TABLES
from edgecomp.models.projector import Projector
from edgecomp.models.safetensors_header import StoredTensor

PATCHES = "vision_tower.vision_model.embeddings.patch_embedding.weight"
QUERY = "vision_tower.vision_model.encoder.layers.0.self_attn.q_proj.weight"
BIAS = "multi_modal_projector.linear_1.bias"
SOUND = "audio_tower.layers.0.fc1.weight"
CONFIG: dict[str, Any] = {"architectures": ["Gemma3ForConditionalGeneration"]}


def stored(**shapes: tuple[int, ...]) -> list[StoredTensor]:
    return [
        StoredTensor(name, "BF16", shape, Path("model.safetensors"), 0, 0)
        for name, shape in shapes.items()
    ]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model's folder with how its pictures are made ready, beside a converter of one class."""
    converter = tmp_path / "converter"
    (converter / TABLES).parent.mkdir(parents=True)
    (converter / INDEX).write_text(
        '{"schema_version": 1, "version": "9.9", "classes": {}, "runtime": []}'
    )
    (converter / TABLES).write_text(
        f'{PROJECTOR_TABLE}: dict[str, str] = {{"Gemma3ForConditionalGeneration": "gemma"}}\n'
    )
    monkeypatch.setenv("EDGECOMP_CONVERTER", str(converter))
    made = tmp_path / "model"
    made.mkdir()
    (made / "preprocessor_config.json").write_text("{}")
    return made


@pytest.mark.parametrize(
    ("name", "beside"),
    [
        (PATCHES, True),
        (BIAS, True),
        (SOUND, True),
        ("model.visual.merger.mlp.0.weight", True),
        ("model.connector.modality_projection.proj.weight", True),
        ("mtp.layers.0.fc.weight", True),
        ("model.layers.0.self_attn.q_proj.weight", False),
        ("model.embed_tokens.weight", False),
    ],
)
def test_weights_of_towers_are_no_part_of_the_text_model(name: str, beside: bool) -> None:
    assert beside_text(name) is beside


def test_a_file_is_as_large_as_its_matrices_at_16_bits_and_the_rest_at_32(folder: Path) -> None:
    found = read_towers(
        folder, CONFIG, stored(**{PATCHES: (8, 3, 2, 2), QUERY: (8, 8), BIAS: (8,), SOUND: (4, 8)})
    )
    assert found == Projector(
        towers=("vision", "audio"), file_bytes=4 * 96 + 2 * 64 + 4 * 8 + 2 * 32
    )
    assert "vision and audio towers" in found.note and "--max-size counts both" in found.note


def test_heads_for_later_tokens_are_no_tower(folder: Path) -> None:
    names = ["mtp.fc.weight", "mtp.norm.weight"]
    assert read_towers(folder, CONFIG, stored(**{name: (2, 2) for name in names})) is None
    assert list(prediction_heads_note(names)) == [
        "The text model is taken alone: 2 weights for multi-token prediction are left out."
    ]


def test_a_missing_file_is_named_and_only_where_there_are_pictures(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()
    found = read_towers(folder, CONFIG, stored(**{QUERY: (8, 8)}))
    assert found and found.lacking
    assert f"preprocessor_config.json is missing in {folder}" in found.note
    assert "taken alone" in found.note
    sounds = read_towers(folder, CONFIG, stored(**{SOUND: (8, 8)}))
    assert sounds and sounds.lacking is None
    (folder / "processor_config.json").write_text("{}")
    again = read_towers(folder, CONFIG, stored(**{QUERY: (8, 8)}))
    assert again and again.lacking is None


def test_a_class_that_the_converter_does_not_know_is_named(folder: Path) -> None:
    found = read_towers(folder, {"architectures": ["NewbornVL"]}, stored(**{QUERY: (8, 8)}))
    assert found and found.lacking
    assert "llama-cpp-python 9.9 writes no towers of NewbornVL" in found.lacking


def test_without_a_converter_that_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGECOMP_CONVERTER", str(folder))
    found = read_towers(folder, CONFIG, stored(**{QUERY: (8, 8)}))
    assert found and found.lacking and "make install" in found.lacking


def test_the_converter_knows_towers_by_the_vision_configs_own_class() -> None:
    assert projector_class(CONFIG) == "Gemma3ForConditionalGeneration"
    vision = {"architectures": ["PaddleOCRVisionModel"]}
    assert projector_class(CONFIG | {"vision_config": vision}) == "PaddleOCRVisionModel"
    assert projector_class({}) == ""


@pytest.mark.parametrize(
    ("own", "nested", "expected"),
    [
        ("Gemma3ForConditionalGeneration", "NewbornLM", "Gemma3ForConditionalGeneration"),
        ("NewbornVL", "Qwen2ForCausalLM", "Qwen2ForCausalLM"),
        ("NewbornVL", "NewbornLM", "NewbornVL"),
        ("NewbornVL", None, "NewbornVL"),
    ],
)
def test_a_text_model_is_known_by_its_own_class_where_the_whole_models_is_not(
    folder: Path, own: str, nested: str | None, expected: str
) -> None:
    text = {"architectures": [nested]} if nested else {}
    found = language_config({"architectures": [own], "text_config": text})
    assert found["architectures"] == [expected]
