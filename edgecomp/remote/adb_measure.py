"""Measure a GGUF file on an Android device with llama.cpp's own `llama-bench`."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from pathlib import Path

from edgecomp.bundles.android_launcher import FOLDER, LLAMA_FOLDER, llama_line
from edgecomp.bundles.artifact_argument import NamedArtifact
from edgecomp.common.errors import RemoteFailed
from edgecomp.common.events import Listener, StageFinished, StageProgress, StageStarted
from edgecomp.measure.llama_bench import LlamaBench, bench_arguments, read_bench
from edgecomp.remote.adb import check_device, push_files, shell
from edgecomp.remote.address import AdbAddress

PROGRAM = "llama-bench"
ERROR_CHARACTERS = 500
BENCH_SECONDS = 3600.0
"""Within which the slowest phone that is of use has read and written llama-bench's few hundred
tokens."""


def measure_over_adb(
    artifact: NamedArtifact, address: AdbAddress, llama: Path | None, listen: Listener
) -> LlamaBench:
    """Push the artifact, run llama-bench with the recipe's settings, and bring its figures back.

    `llama` is a folder here with an Android build of llama.cpp, which is pushed as well; None: it
    is at LLAMA_FOLDER already. Raises ConnectionFailed or RemoteFailed.
    """
    path = artifact.path
    if path.is_dir():
        raise RemoteFailed(
            f"{path} is no GGUF file: over adb llama.cpp measures, and nothing else."
        )
    if llama and not _program_in(llama):
        raise RemoteFailed(f"{llama} holds no {PROGRAM}. Give a build of llama.cpp for Android.")
    check_device(address)
    files = {path.name: path}
    if llama:
        built = {part.relative_to(llama).as_posix(): part for part in sorted(llama.rglob("*"))}
        files |= {f"{LLAMA_FOLDER.name}/{name}": p for name, p in built.items() if p.is_file()}
    _push(address, files, path.name, listen)
    settings = artifact.recipe.settings if artifact.recipe else None
    listen(StageStarted(stage="bench", title=f"Measuring on {address}"))
    began = time.perf_counter()
    output = _run(address, bench_arguments(str(FOLDER / path.name), settings))
    found = read_bench(output, path.name, path.stat().st_size, str(address), settings)
    listen(StageFinished(stage="bench", cached=False, seconds=time.perf_counter() - began))
    return found


def _program_in(folder: Path) -> bool:
    return any((folder / place / PROGRAM).is_file() for place in (".", "bin"))


def _push(address: AdbAddress, files: Mapping[str, Path], title: str, listen: Listener) -> None:
    listen(StageStarted(stage="copy", title=f"Copying {title} to {address}"))
    began = time.perf_counter()

    def progress(done: float, total: float) -> None:
        listen(StageProgress(stage="copy", done=done, total=total, unit="bytes"))

    push_files(address, files, FOLDER, progress)
    listen(StageFinished(stage="copy", cached=False, seconds=time.perf_counter() - began))


def _run(address: AdbAddress, arguments: list[str]) -> str:
    """What llama-bench prints, from wherever a build or an installed tree has it."""
    ran = shell(address, llama_line(PROGRAM, shlex.join(arguments)), BENCH_SECONDS)
    if ran.returncode == 127 and not ran.stdout:
        raise RemoteFailed(
            f"{address} has no {PROGRAM} in {LLAMA_FOLDER}. Name a folder with an Android build of "
            "llama.cpp with --llama-bin; it is pushed once and stays there."
        )
    if ran.returncode:
        check_device(address)
        message = ran.stderr.strip()[-ERROR_CHARACTERS:] or f"exit code {ran.returncode}"
        raise RemoteFailed(f"{PROGRAM} failed on {address}: {message}")
    return ran.stdout
