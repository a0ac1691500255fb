"""Measure an artifact on an Android device with a runtime's own program: a GGUF file with
llama.cpp's `llama-bench`, an ONNX folder with onnxruntime-genai's `model_benchmark`."""

from __future__ import annotations

import shlex
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from edgecomp.bundles.android_launcher import FOLDER, GENAI_FOLDER, LLAMA_FOLDER, program_line
from edgecomp.bundles.artifact_argument import NamedArtifact
from edgecomp.bundles.bundle import MANIFEST, read_manifest
from edgecomp.common.atomic import copy_file
from edgecomp.common.errors import RemoteFailed
from edgecomp.common.events import Listener, StageFinished, StageProgress, StageStarted
from edgecomp.common.folders import path_bytes
from edgecomp.common.inside_folder import files_inside
from edgecomp.formats.exporting import ServedLimits, find_onnx_exporter
from edgecomp.measure.genai_bench import (
    BenchedArtifact,
    GenaiBench,
    genai_arguments,
    read_genai,
)
from edgecomp.measure.llama_bench import LlamaBench, bench_arguments, read_bench
from edgecomp.models.onnx_folder import CONFIG
from edgecomp.recipes.recipe import Recipe
from edgecomp.remote.adb import check_device, push_files, shell
from edgecomp.remote.address import AdbAddress

ERROR_CHARACTERS = 500
BENCH_SECONDS = 3600.0
"""Within which the slowest phone that is of use has read and written a benchmark's few hundred
tokens."""


class BenchProgram(NamedTuple):
    """A runtime's own benchmark."""

    name: str
    runtime: str
    folder: PurePosixPath
    """Where a build of the runtime lies on the device."""

    option: str
    """Which names one here."""


LLAMA_BENCH = BenchProgram("llama-bench", "llama.cpp", LLAMA_FOLDER, "--llama-bin")
MODEL_BENCHMARK = BenchProgram("model_benchmark", "onnxruntime-genai", GENAI_FOLDER, "--genai-bin")


class Builds(NamedTuple):
    """Folders here with Android builds, which are pushed as well; None: they are there already."""

    llama: Path | None = None
    genai: Path | None = None


def measure_over_adb(
    artifact: NamedArtifact, address: AdbAddress, builds: Builds, listen: Listener
) -> LlamaBench | GenaiBench:
    """Push the artifact, run its runtime's benchmark with the recipe's settings, and bring its
    figures back. Raises ConnectionFailed or RemoteFailed."""
    if artifact.runtime == "onnx":
        return _measure_onnx(artifact, address, builds.genai, listen)
    path = artifact.path
    if path.is_dir():
        raise RemoteFailed(
            f"{path} is neither a GGUF file nor an ONNX folder: over adb llama.cpp and "
            "onnxruntime-genai measure, and nothing else."
        )
    built = _built(builds.llama, LLAMA_BENCH)
    check_device(address)
    _push(address, {path.name: path, **built}, path.name, listen)
    settings = artifact.recipe.settings if artifact.recipe else None
    arguments = bench_arguments(str(FOLDER / path.name), settings)
    output = _run(address, LLAMA_BENCH, arguments, listen)
    return read_bench(output, path.name, path.stat().st_size, str(address), settings)


def _measure_onnx(
    artifact: NamedArtifact, address: AdbAddress, build: Path | None, listen: Listener
) -> GenaiBench:
    built, recipe = _built(build, MODEL_BENCHMARK), artifact.recipe
    path = _package(artifact.path, recipe)
    check_device(address)
    files = {f"{path.name}/{name}": file for name, file in files_inside(path).items()}
    with tempfile.TemporaryDirectory(prefix="edgecomp-") as scratch:
        if recipe and recipe.provider == "cpu":
            # The builder's configuration has neither the plan's threads nor its context.
            files[f"{path.name}/{CONFIG}"] = _configured(path, recipe, Path(scratch))
        _push(address, files | built, path.name, listen)
    settings = recipe.settings if recipe else None
    arguments = genai_arguments(str(FOLDER / path.name), settings)
    output = _run(address, MODEL_BENCHMARK, arguments, listen)
    measured = BenchedArtifact(
        artifact=path.name,
        artifact_bytes=path_bytes(path),
        device=str(address),
        provider=recipe.provider if recipe else "cpu",
        settings=settings,
    )
    return read_genai(output, measured)


def _package(path: Path, recipe: Recipe | None) -> Path:
    """The folder for the recipe's execution provider, where a bundle has one beside."""
    bundle = path.parent
    if recipe and recipe.provider != "cpu" and (bundle / MANIFEST).is_file():
        return bundle / (read_manifest(bundle).package or path.name)
    return path


def _configured(path: Path, recipe: Recipe, scratch: Path) -> Path:
    """The folder's configuration with the recipe's settings. Raises RemoteFailed."""
    copy_file(path / CONFIG, scratch / CONFIG)
    settings = recipe.settings
    limits = ServedLimits(
        context=settings.context,
        sequences=1,
        chunk=settings.micro_batch,
        threads=settings.threads,
    )
    fault = find_onnx_exporter().configure(scratch, "cpu", limits)
    if fault:
        raise RemoteFailed(f"onnxruntime-genai refuses {path / CONFIG}: {fault}")
    return scratch / CONFIG


def _built(build: Path | None, program: BenchProgram) -> dict[str, Path]:
    """The files of a build, by their names below FOLDER. Raises RemoteFailed."""
    if build is None:
        return {}
    if not any((build / place / program.name).is_file() for place in (".", "bin")):
        raise RemoteFailed(
            f"{build} holds no {program.name}. Give a build of {program.runtime} for Android."
        )
    parts = {part.relative_to(build).as_posix(): part for part in sorted(build.rglob("*"))}
    return {f"{program.folder.name}/{name}": p for name, p in parts.items() if p.is_file()}


def _push(address: AdbAddress, files: Mapping[str, Path], title: str, listen: Listener) -> None:
    listen(StageStarted(stage="copy", title=f"Copying {title} to {address}"))
    began = time.perf_counter()

    def progress(done: float, total: float) -> None:
        listen(StageProgress(stage="copy", done=done, total=total, unit="bytes"))

    push_files(address, files, FOLDER, progress)
    listen(StageFinished(stage="copy", cached=False, seconds=time.perf_counter() - began))


def _run(address: AdbAddress, program: BenchProgram, arguments: list[str], listen: Listener) -> str:
    """What a benchmark prints, from wherever a build or an installed tree has it."""
    listen(StageStarted(stage="bench", title=f"Measuring on {address}"))
    began = time.perf_counter()
    line = program_line(program.folder, program.name, shlex.join(arguments))
    ran = shell(address, line, BENCH_SECONDS)
    if ran.returncode == 127 and not ran.stdout:
        raise RemoteFailed(
            f"{address} has no {program.name} in {program.folder}. Name a folder with an Android "
            f"build of {program.runtime} with {program.option}; it is pushed once and stays there."
        )
    if ran.returncode:
        check_device(address)
        message = ran.stderr.strip()[-ERROR_CHARACTERS:] or f"exit code {ran.returncode}"
        raise RemoteFailed(f"{program.name} failed on {address}: {message}")
    listen(StageFinished(stage="bench", cached=False, seconds=time.perf_counter() - began))
    return ran.stdout
