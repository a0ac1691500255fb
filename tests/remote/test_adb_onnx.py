"""ONNX folders on an Android device: pushed, measured by model_benchmark, figures brought back.

What the device prints is a recording of a real one (tests/measure/test_genai_bench.py).
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from scripted_adb import calls

from edgecomp.bundles.artifact_argument import NamedArtifact
from edgecomp.bundles.bundle import MANIFEST, Manifest
from edgecomp.common.errors import RemoteFailed
from edgecomp.common.events import ignore
from edgecomp.models.onnx_folder import CONFIG, DATA, GRAPH, TOKENIZER
from edgecomp.recipes.calibration_mix import CalibrationMix
from edgecomp.recipes.constraints import Constraints
from edgecomp.recipes.recipe import Recipe
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.remote.adb_measure import Builds, measure_over_adb
from edgecomp.remote.address import AdbAddress
from edgecomp.terminal.result_tables import measured_table

PHONE = AdbAddress(serial="R5CT")
THERE = "data/local/tmp/edgecomp"
BUILT = Path(__file__).parents[1] / "exporters" / "genai_configs" / "built.json"
PRINTED = """\
Batch size: 1, prompt tokens: 2, tokens to generate: 128
Prompt processing (time to first token):
\tavg (us):       140607
\tavg (tokens/s): 14.224
\tp50 (us):       141764
\tstddev (us):    7045.29
\tn:              5 * 2 token(s)
Token generation:
\tavg (us):       185163
\tavg (tokens/s): 5.40064
\tp50 (us):       191207
\tstddev (us):    40530.6
\tn:              635 * 1 token(s)
Peak working set size (bytes): 2864254976
"""
BENCH = f"#!/bin/sh\necho \"$@\" > ../given\necho loading >&2\ncat <<'END'\n{PRINTED}END\n"


def recipe_for(provider: str) -> Recipe:
    return Recipe(
        model="m", device="snapdragon-8-elite", constraints=Constraints(), runtime="onnx",
        provider=provider, format="onnx-int4-32", importance=False,
        settings=RunSettings(context=128, threads=6, micro_batch=32, kv_type="F32"),
        calibration=CalibrationMix(samples={"math": 1}),
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "bundle" / "m-onnx-int4-32"
    path.mkdir(parents=True)
    for name in (GRAPH, DATA, TOKENIZER):
        (path / name).write_bytes(name.encode())
    (path / CONFIG).write_text(BUILT.read_text())
    return path


@pytest.fixture
def build(tmp_path: Path) -> Callable[[str], Path]:
    def make(script: str = BENCH) -> Path:
        path = tmp_path / "a build"
        (path / "bin").mkdir(parents=True, exist_ok=True)
        (path / "bin" / "model_benchmark").write_text(script)
        (path / "lib").mkdir(exist_ok=True)
        (path / "lib" / "libonnxruntime-genai.so").write_bytes(b"a library")
        return path

    return make


def test_the_folder_is_pushed_measured_and_its_figures_come_back(
    device: Path, folder: Path, build: Callable[..., Path]
) -> None:
    artifact = NamedArtifact(path=folder, recipe=recipe_for("cpu"), runtime="onnx")
    found = measure_over_adb(artifact, PHONE, Builds(genai=build()), ignore)
    there = device / THERE / folder.name
    assert (there / DATA).read_bytes() == DATA.encode()
    assert (device / THERE / "onnxruntime-genai/lib/libonnxruntime-genai.so").is_file()
    given = (device / THERE / "onnxruntime-genai/given").read_text()
    assert f"-i {there}" in given and "-ml 128" in given
    config = json.loads((there / CONFIG).read_text())
    assert config["model"]["decoder"]["session_options"]["intra_op_num_threads"] == 6
    assert config["search"]["max_length"] == 128
    assert (folder / CONFIG).read_text() == BUILT.read_text(), "the folder stays as it was"
    speeds = [round(row.tokens_per_second, 2) for row in found.speeds]  # type: ignore[union-attr]
    assert speeds == [14.22, 5.40]
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(measured_table(found))
    shown = console.export_text()
    assert "adb://R5CT" in shown and "2.864 GB" in shown and "read a prompt" in shown


def test_a_bundle_for_another_provider_is_measured_by_its_package(
    device: Path, folder: Path, build: Callable[..., Path]
) -> None:
    bundle, recipe = folder.parent, recipe_for("qnn")
    package = bundle / f"{folder.name}-qnn"
    package.mkdir()
    (package / CONFIG).write_text((BUILT.parent / "qnn.json").read_text())
    manifest = Manifest(
        artifact=folder.name, package=package.name, files={}, recipe=recipe, device="phone",
        source="m", source_sha256="0", calibration_sha256=None, versions={},
    )  # fmt: skip
    (bundle / MANIFEST).write_text(manifest.model_dump_json())
    artifact = NamedArtifact(path=folder, recipe=recipe, runtime="onnx")
    found = measure_over_adb(artifact, PHONE, Builds(genai=build()), ignore)
    assert found.artifact == package.name
    pushed = (device / THERE / package.name / CONFIG).read_text()
    assert pushed == (package / CONFIG).read_text()


def test_what_is_there_already_is_not_pushed_again(
    device: Path, folder: Path, build: Callable[..., Path]
) -> None:
    artifact = NamedArtifact(path=folder, recipe=None, runtime="onnx")
    measure_over_adb(artifact, PHONE, Builds(genai=build()), ignore)
    before = len(calls(device))
    measure_over_adb(artifact, PHONE, Builds(), ignore)
    assert "push" not in [call[0] for call in calls(device)[before:]]


def test_a_device_without_the_program_says_how_to_give_it_one(
    device: Path, folder: Path, tmp_path: Path
) -> None:
    artifact = NamedArtifact(path=folder, recipe=None, runtime="onnx")
    with pytest.raises(RemoteFailed, match="--genai-bin"):
        measure_over_adb(artifact, PHONE, Builds(), ignore)
    with pytest.raises(RemoteFailed, match="holds no model_benchmark"):
        measure_over_adb(artifact, PHONE, Builds(genai=tmp_path), ignore)


def test_a_provider_that_the_phones_build_lacks_is_told_in_the_librarys_words(
    device: Path, folder: Path, build: Callable[..., Path]
) -> None:
    # As onnxruntime-genai 0.18 says it where a build has no QNN, by main.cpp's own handler.
    said = "Exception: QNN execution provider is not supported in this build. "
    script = f"#!/bin/sh\necho '{said}' >&2\nexit 1\n"
    artifact = NamedArtifact(path=folder, recipe=None, runtime="onnx")
    with pytest.raises(RemoteFailed, match="QNN execution provider is not supported"):
        measure_over_adb(artifact, PHONE, Builds(genai=build(script)), ignore)
