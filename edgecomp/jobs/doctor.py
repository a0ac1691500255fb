"""What works on this machine and what does not, each with its cure.

Native libraries are tried, not asked: each computes something in a process of its own, so that one
that dies here is a finding and not the end.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import psutil

from edgecomp.common.atomic import require_writable
from edgecomp.common.errors import EdgecompError
from edgecomp.common.folders import cache_folder, nearest_existing
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.common.machine_limits import (
    available_memory_bytes,
    in_memory,
    memory_limit_bytes,
    physical_cores,
    processor_quota,
)
from edgecomp.common.package_versions import LLAMA_CPP_PACKAGE, named_version
from edgecomp.common.quantity import format_size
from edgecomp.devices.detect import cpu_model, kernel_rates_path, read_kernel_rates, why_stale
from edgecomp.formats.exporting import find_optimum_exporter
from edgecomp.measure.machine import BUSY_SHARE
from edgecomp.models.llama_cpp_families import VARIABLE as CONVERTER
from edgecomp.models.llama_cpp_families import converter_folder, llama_cpp_families
from edgecomp.pipeline.cache_contents import read_contents
from edgecomp.runtimes.transformers.kernels import KERNELS

LONGEST_SECONDS = 300
DATA_VARIABLE = "EDGECOMP_DATA"
LITTLE_DISK_BYTES = 5 * 10**9
LITTLE_MEMORY_BYTES = 2 * 10**9

REINSTALL_LLAMA = (
    "Run `make install` again in edgecomp's repository: it builds llama.cpp plainer where a build "
    "does not work. Elsewhere build llama-cpp-python with CMAKE_ARGS=-DGGML_NATIVE=OFF."
)
BUILD_FOR_CARD = "For a graphics card: `make install BACKEND=auto` in edgecomp's repository."

CHECKED_KERNELS = {
    "gptq": "GPTQ and AWQ checkpoints",
    "compressed-tensors": "its checkpoints",
}
"""Kinds of quantized checkpoints that are made or read here, and what they are called."""


class Check(FrozenModel):
    """One thing that was looked at."""

    name: str
    state: Literal["works", "warning", "fails", "absent"]
    """`absent`: not there, and nothing here needs it."""

    found: str
    cure: str = ""
    """What to do; empty where nothing is to be done."""


class Diagnosis(FrozenModel):
    """All of them."""

    schema_version: Literal[1] = 1
    checks: tuple[Check, ...]

    @property
    def healthy(self) -> bool:
        return all(check.state != "fails" for check in self.checks)


def examine(data: Path | None = None) -> Diagnosis:
    """Look at everything that edgecomp rests on here. `data`: the folder of evaluation data, if one
    is named. Takes some seconds."""
    return Diagnosis(
        checks=(
            _llama_cpp(),
            _converter(),
            _onnx_runtime(),
            _torch(),
            _optimum(),
            *(_kernels(method) for method in CHECKED_KERNELS),
            _cache(),
            _disk(),
            _memory(),
            _processors(),
            _data(data),
            _calibration(),
        )
    )


def _answer(program: list[str]) -> tuple[dict[str, Any], str]:
    """What a program says in its last line (JSON), or why it says nothing."""
    try:
        done = subprocess.run(
            [sys.executable, *program], capture_output=True, text=True, errors="replace",
            timeout=LONGEST_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {}, f"gave no answer within {LONGEST_SECONDS} s"
    if done.returncode < 0:
        return {}, f"dies ({signal.Signals(-done.returncode).name})"
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return {}, said[-1]
    answer: dict[str, Any] = json.loads(lines[-1])
    return answer, ""


def _llama_cpp() -> Check:
    answer, fault = _answer(["-m", "edgecomp.runtimes.llama_cpp.first_token"])
    if fault:
        return Check(name="llama.cpp", state="fails", found=fault, cure=REINSTALL_LLAMA)
    devices = ", ".join(
        f"{row['name']} ({row['title']}, {format_size(row['free_bytes'])} free)"
        for row in answer["devices"]
    )
    cards = [row for row in answer["devices"] if row["is_card"]]
    where = "and another with all layers on a card" if cards else "on the processor"
    decoded = f"llama-cpp-python {answer['version']} decoded a token {where}"
    return Check(
        name="llama.cpp",
        state="works",
        found=f"{decoded}. Devices: {devices or 'not told by this build'}.",
        cure="" if cards or not _card_seen() else BUILD_FOR_CARD,
    )


def _converter() -> Check:
    """llama.cpp's own converter, of the runtime's version."""
    folder, known = converter_folder(), llama_cpp_families()
    cure = f"Run `make install` in edgecomp's repository, or name its folder in {CONVERTER}."
    if known is None:
        found = f"none in {folder}: Hugging Face folders of families without a row here are refused"
        return Check(name="converter", state="absent", found=f"{found}.", cure=cure)
    version = named_version(LLAMA_CPP_PACKAGE)
    found = f"llama.cpp's own ({known.version}) in {folder}, {len(known.classes)} classes"
    if known.version not in version:
        found = f"{found}, of another version than {version}"
        return Check(name="converter", state="warning", found=f"{found}.", cure=cure)
    return Check(name="converter", state="works", found=f"{found}.")


def _card_seen() -> bool:
    return any(shutil.which(program) for program in ("nvidia-smi", "rocm-smi"))


def _check_product(name: str, module: str, titles: Callable[[dict[str, Any], str], str]) -> Check:
    """A library whose program tells the faults of each of its devices."""
    answer, fault = _answer(["-m", module])
    reinstall = f"Install it again: `pip install --force-reinstall --no-deps {name}`."
    if fault:
        return Check(name=name, state="fails", found=fault, cure=reinstall)
    faults: dict[str, str] = answer["faults"]
    works = [titles(answer, device) for device, said in faults.items() if not said]
    broken = [f"{titles(answer, device)}: {said}" for device, said in faults.items() if said]
    found = f"{answer['version']}; a product by {', '.join(works) or 'nothing'}"
    if broken:
        found += f"; not by {'; '.join(broken)}"
    state: Literal["works", "warning", "fails"] = "fails" if not works else "works"
    if works and broken:
        state = "warning"
    cure = "" if not broken else f"{reinstall} A device's driver may be missing or too old for it."
    return Check(name=name, state=state, found=f"{found}.", cure=cure)


def _onnx_runtime() -> Check:
    return _check_product(
        "onnxruntime", "edgecomp.runtimes.onnx.first_product", lambda answer, device: device
    )


def _torch() -> Check:
    return _check_product(
        "torch",
        "edgecomp.compress.first_product",
        lambda answer, device: f"{device} ({answer['titles'][device]})",
    )


def _optimum() -> Check:
    try:
        python = find_optimum_exporter().optimum_python()
    except EdgecompError as error:
        return Check(name="optimum", state="absent", found="no environment", cure=str(error))
    return Check(name="optimum", state="works", found=f"{python}.")


def _kernels(method: str) -> Check:
    """Whether transformers runs the codes of a kind of quantized checkpoint here."""
    kernels, kinds = KERNELS[method], CHECKED_KERNELS[method]
    name = f"kernels of {method}"
    if kernels.missing:
        found = f"no {' and no '.join(kernels.missing)}: {kinds} run as the floats they stand for"
        cure = f"{kernels.cure}, where their codes are to be run."
        return Check(name=name, state="absent", found=f"{found}.", cure=cure)
    modules = ", ".join(kernels.packages.values())
    _, fault = _answer(["-c", f"import {modules}; print('{{}}')"])
    if fault:
        cure = f"{kernels.cure} again; without them {kinds} run as floats."
        return Check(name=name, state="fails", found=fault, cure=cure)
    versions = ", ".join(named_version(package) for package in kernels.packages)
    return Check(name=name, state="works", found=f"{versions}.")


def _cache() -> Check:
    folder = cache_folder()
    found = f"{folder}, {format_size(read_contents().size_bytes)}"
    try:
        require_writable(folder)
    except EdgecompError as error:
        cure = f"{error} Or set EDGECOMP_CACHE to a folder that can be written."
        return Check(name="cache", state="fails", found=found, cure=cure)
    if folder.exists() and in_memory(folder):
        cure = "Set EDGECOMP_CACHE to a folder on a disk: what is kept there takes memory."
        return Check(name="cache", state="warning", found=f"{found}, in memory", cure=cure)
    return Check(name="cache", state="works", found=f"{found}.")


def _disk() -> Check:
    place = nearest_existing(cache_folder())
    free = shutil.disk_usage(place).free
    found = f"{format_size(free)} free at {place}."
    if free < LITTLE_DISK_BYTES:
        cure = "`edgecomp cache --prune` frees finished stages, or set EDGECOMP_CACHE elsewhere."
        return Check(name="disk", state="warning", found=found, cure=cure)
    return Check(name="disk", state="works", found=found)


def _memory() -> Check:
    limit, free = memory_limit_bytes(), available_memory_bytes()
    machine = int(psutil.virtual_memory().total)
    found = f"{format_size(free)} free of {format_size(limit)}"
    if limit < machine:
        found += f", which a control group allows of the machine's {format_size(machine)}"
    if free < LITTLE_MEMORY_BYTES:
        cure = "Close other programs, or raise the container's memory limit."
        return Check(name="memory", state="warning", found=f"{found}.", cure=cure)
    return Check(name="memory", state="works", found=f"{found}.")


def _processors() -> Check:
    quota = processor_quota()
    found = f"{cpu_model()}; {physical_cores()} cores may be used of {os.cpu_count()} processors"
    if quota is not None:
        found += f", at most {quota:g} processors' time by a control group"
    return Check(name="processors", state="works", found=f"{found}.")


def _data(data: Path | None) -> Check:
    if data is None:
        found = f"none named; the small sets that ship are used ({DATA_VARIABLE} or --data)."
        return Check(name="data", state="works", found=found)
    files = sorted(data.glob("*.jsonl")) if data.is_dir() else []
    if not files:
        cure = f"Name a folder of evaluation data in {DATA_VARIABLE}, or none."
        return Check(name="data", state="fails", found=f"{data} holds no .jsonl files", cure=cure)
    return Check(name="data", state="works", found=f"{data}, {len(files)} sets of rows.")


def _calibration() -> Check:
    kept = read_kernel_rates(kernel_rates_path())
    again = "Run `edgecomp devices calibrate` while nothing else runs."
    if kept is None:
        found = "none: plans guess this machine's speed"
        return Check(name="calibration", state="warning", found=found, cure=again)
    found = f"of {kept.measured_at}, {kept.processor}, {kept.threads} threads, {kept.runtime}"
    stale = why_stale(kept)
    if stale:
        found = f"{found}; not used: {stale}"
        return Check(name="calibration", state="warning", found=found, cure=again)
    busy = max(rates.busy_processors for rates in (kept, kept.onnx) if rates)
    if busy > BUSY_SHARE * kept.threads:
        found = f"{found}; other work kept {busy:.1f} processors busy meanwhile"
        return Check(name="calibration", state="warning", found=found, cure=again)
    return Check(name="calibration", state="works", found=f"{found}.")
