"""Artifacts with towers: the projector goes along, and where it cannot, the text model goes alone
and that is told."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edgecomp.common.events import Event, StageFinished, Warned
from edgecomp.exporters.gguf import export
from edgecomp.making.compress_job import (
    Compressed,
    CompressionRequest,
    compress,
    compression_recipe,
)
from edgecomp.models.gguf.header import read_gguf_header
from edgecomp.models.llama_cpp_families import llama_cpp_families
from edgecomp.models.reading import read_model
from edgecomp.recipes.calibration_mix import CalibrationMix

MIX = CalibrationMix(samples={"math": 24, "instructions": 16}, row_tokens=64)

pytestmark = pytest.mark.skipif(
    llama_cpp_families() is None, reason="no converter is kept here: `make install` keeps it"
)


def made_of(model: Path, folder: Path) -> tuple[Compressed, list[Event]]:
    wanted = CompressionRequest.model_validate(
        {
            "model": str(model),
            "format": "Q8_0",
            "method": "llama.cpp",
            "calibration": MIX,
            "any_calibration": True,
        }
    )
    heard: list[Event] = []
    return compress(compression_recipe(wanted), folder, None, heard.append), heard


def warnings(heard: list[Event]) -> str:
    return " ".join(event.text for event in heard if isinstance(event, Warned))


@pytest.mark.parametrize("name", ["gemma3", pytest.param("qwen3_vl", marks=pytest.mark.slow)])
def test_a_projector_is_made_once_and_lies_beside_the_artifact(
    tiny_family: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    made, heard = made_of(tiny_family(name), tmp_path / "out")
    assert made.projector == "model-mmproj-F16.gguf"
    file = tmp_path / "out" / made.projector
    assert file.stat().st_size == made.projector_bytes
    assert read_gguf_header(file).get("general.type") == "mmproj"
    names = [check.name for check in made.checks if check.passed]
    assert {"projector", "projector's weights", "projector's load"} <= set(names)
    assert "in a file of its own (mmproj)" in warnings(heard)
    _, again = made_of(tiny_family(name), tmp_path / "again")
    stages = {e.stage: e.cached for e in again if isinstance(e, StageFinished)}
    assert stages["projector"] and stages["check-projector"]


def test_a_tower_that_cannot_be_written_leaves_the_text_model_alone(
    tiny_family: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_family("gemma3"), tmp_path / "folder")
    processor = folder / "preprocessor_config.json"
    processor.write_text(json.dumps({"image_std": [0.5] * 3}))
    made, heard = made_of(folder, tmp_path / "out")
    assert made.projector is None and (tmp_path / "out" / made.file).is_file()
    assert "The text model is made alone." in warnings(heard)
    assert "image_mean" in warnings(heard)
    processor.unlink()
    made, heard = made_of(folder, tmp_path / "alone")
    assert made.projector is None
    assert "preprocessor_config.json is missing" in warnings(heard)


def test_the_projector_beside_a_gguf_source_goes_along_unless_it_is_broken(
    tiny_family: Callable[[str], Path], tmp_path: Path
) -> None:
    source = tmp_path / "source" / "text.gguf"
    source.parent.mkdir()
    first, _ = made_of(tiny_family("gemma3"), tmp_path / "first")
    assert first.projector
    export(read_model(tiny_family("gemma3")), source, "F16")
    beside = source.with_name("text-mmproj-F16.gguf")
    shutil.copy(tmp_path / "first" / first.projector, beside)
    made, _ = made_of(source, tmp_path / "out")
    assert made.projector == "model-mmproj-F16.gguf"
    assert (tmp_path / "out" / made.projector).read_bytes() == beside.read_bytes()
    content = beside.read_bytes()
    beside.write_bytes(
        content.replace(b"mm.input_projection.weight", b"mm.input_projectiom.weight")
    )
    broken, heard = made_of(source, tmp_path / "broken")
    assert broken.projector is None
    assert "cannot go along" in warnings(heard) and "mm.input_projection.weight" in warnings(heard)
