"""Install llama.cpp for the hardware that is here, and prove that it computes.

    python tools/install_llama_cpp.py llama-cpp-python==0.3.36 WHEELS [auto|cpu|cuda|...]

Builds are kept below WHEELS, each under what it was built for, and used again. Whether new or kept,
a build is first unpacked and has to decode a token in a process of its own: code for instructions
that the processor, or the virtual machine around it, does not really offer dies there. Then the
next plainer build is tried, and a line says so. `auto` leaves out a backend whose compiler has once
given up, until that is another one. Only the standard library is imported: nothing else is
installed yet.
"""

from __future__ import annotations

import ctypes.util
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from email.parser import Parser
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PROBE = ROOT / "edgecomp" / "runtimes" / "llama_cpp" / "first_token.py"
PROBE_SECONDS = 300
PROBE_NEEDS = "gguf"
LOCK = ROOT / "requirements.lock"

X86 = ("x86_64", "amd64", "i686", "i386")
WITHOUT_AMX = ("-mno-amx-tile", "-mno-amx-int8", "-mno-amx-bf16")
WITHOUT_AVX512 = ("-mno-avx512f",)
FLAG_OPTIONS = {"avx": "AVX", "avx2": "AVX2", "fma": "FMA", "f16c": "F16C", "bmi2": "BMI2",
                "sse4_2": "SSE42"}  # fmt: skip
"""Instruction sets as Linux names them, and ggml's options for them."""

EVERY_BUILD = ("-DGGML_RPC=ON",)
"""Devices of another machine, or of a test, can be used over the network where one asks for it."""


BUILD_FAILED = "Failed building wheel"
"""What pip says where the compilers gave up, and not where there was nothing to download."""

FAILED = "failed.json"


class Backend(NamedTuple):
    """A way to compute beside the processor, what its build takes, and by what it is recognised."""

    name: str
    options: tuple[str, ...]
    compilers: tuple[str, ...]
    """Where its compiler may be; empty where it is the processor's own."""

    is_here: Callable[[], bool]
    needs: str


class Build(NamedTuple):
    """One way to build llama.cpp."""

    backend: str
    name: str
    options: tuple[str, ...]
    compiler_flags: tuple[str, ...]


NVCC = ("nvcc", "/usr/local/cuda/bin/nvcc")
HIPCC = ("hipcc", "/opt/rocm/bin/hipcc")


def _program(*names: str) -> Callable[[], bool]:
    return lambda: any(map(shutil.which, names))


def _vulkan() -> bool:
    return bool(shutil.which("glslc") and ctypes.util.find_library("vulkan"))


def _metal() -> bool:
    return sys.platform == "darwin" and platform.machine() == "arm64"


BACKENDS = {
    row.name: row
    for row in (
        Backend("metal", ("-DGGML_METAL=ON",), (), _metal, "macOS on Apple silicon"),
        Backend(
            "cuda",
            ("-DGGML_CUDA=ON",),
            NVCC,
            _program(*NVCC),
            "nvcc, of NVIDIA's CUDA toolkit",
        ),
        Backend("hip", ("-DGGML_HIP=ON",), HIPCC, _program(*HIPCC), "hipcc, of ROCm"),
        Backend("vulkan", ("-DGGML_VULKAN=ON",), ("glslc",), _vulkan, "glslc and a Vulkan loader"),
        Backend(
            "sycl",
            ("-DGGML_SYCL=ON", "-DCMAKE_C_COMPILER=icx", "-DCMAKE_CXX_COMPILER=icpx"),
            ("icpx",),
            _program("icpx"),
            "icpx, of Intel's oneAPI",
        ),
        Backend("cpu", (), (), lambda: True, "nothing"),
    )
}
"""In the order in which `auto` looks for them."""

CARDS = {"nvidia-smi": "cuda", "rocm-smi": "hip"}
"""Drivers' programs that tell of a card, and the backend for it."""


def choose_backend(wanted: str) -> str:
    """The backend to build: the one that is wanted, or with `auto` the first that can be built."""
    if wanted != "auto":
        return wanted
    return next(row.name for row in BACKENDS.values() if row.is_here())


def unused_card(chosen: str) -> str:
    """A line on a card that is here and that the chosen backend leaves alone; empty without one."""
    if chosen != "cpu":
        return ""
    for program, backend in CARDS.items():
        if shutil.which(program):
            return (
                f"{program} is here, and {BACKENDS[backend].needs} is not: llama.cpp is built for "
                f"the processor alone. Install it and run `make install BACKEND={backend}`."
            )
    return ""


def processor_flags() -> set[str]:
    """The processor's instruction sets, as Linux names them; empty elsewhere."""
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.is_file() else ""
    found = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.M)
    return set(found[1].split()) if found else set()


def builds(backend: str, machine: str, flags: set[str]) -> list[Build]:
    """The builds of a backend, the fastest first; `machine` and `flags` tell of the processor."""
    options = (*BACKENDS[backend].options, *EVERY_BUILD)
    portable = (*options, "-DGGML_NATIVE=OFF")
    if machine.lower() not in X86:
        return [Build(backend, "native", options, ()), Build(backend, "portable", portable, ())]
    # What is not native has the instruction sets of 2013 where the processor names them.
    switches = (f"-DGGML_{o}={'ON' if f in flags else 'OFF'}" for f, o in FLAG_OPTIONS.items())
    rows = [Build(backend, "native", options, WITHOUT_AMX)]
    if any(flag.startswith("avx512") for flag in flags):
        rows.append(Build(backend, "native-no-avx512", options, (*WITHOUT_AMX, *WITHOUT_AVX512)))
    return [*rows, Build(backend, "portable", (*portable, *switches), ())]


def wheel_folder(wheels: Path, requirement: str, build: Build, flags: set[str]) -> Path:
    """Where a build's wheel is kept: by version, backend, kind of build and processor."""
    processor = " ".join(sorted(flags)) or platform.processor() or platform.machine()
    key = hashlib.sha256(processor.encode()).hexdigest()[:8]
    version = requirement.partition("==")[2]
    return wheels / f"{version}-{build.backend}-{build.name}-{key}"


def kept_wheel(folder: Path) -> Path | None:
    return next(iter(sorted(folder.glob("llama_cpp_python-*.whl"))), None)


def compiler_version(backend: str) -> str:
    """What the backend's compiler says of its version; empty where it has none of its own."""
    for name in filter(None, map(shutil.which, BACKENDS[backend].compilers)):
        try:
            done = subprocess.run([name, "--version"], capture_output=True, timeout=PROBE_SECONDS)
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return done.stdout.decode(errors="replace").strip()
    return ""


def note_failure(folder: Path, backend: str) -> None:
    """Remember beside the kept wheels that the compilers gave up."""
    note = {"compiler": compiler_version(backend)}
    (folder / FAILED).write_text(json.dumps(note), encoding="utf-8")


def known_failure(wheels: Path, requirement: str, backend: str, flags: set[str]) -> str:
    """A line where this very compiler has given up on the backend before; else empty."""
    build = builds(backend, platform.machine(), flags)[0]
    folder = wheel_folder(wheels, requirement, build, flags)
    try:
        note = json.loads((folder / FAILED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    if not isinstance(note, dict) or note.get("compiler") != compiler_version(backend):
        return ""
    return (
        f"llama.cpp for {backend} could not be built here before ({folder / 'build.log'}) and is "
        f"skipped. `make install BACKEND={backend}` tries it again."
    )


def make_wheel(requirement: str, build: Build, folder: Path) -> str:
    """Build into `folder`; what went wrong, or nothing. Takes some minutes on few cores. What the
    compilers said of a failure is kept beside."""
    environment = {
        **os.environ,
        "CMAKE_ARGS": " ".join([*build.options, os.environ.get("CMAKE_ARGS", "")]).strip(),
    }
    for name in ("CFLAGS", "CXXFLAGS"):
        known = [flag for flag in build.compiler_flags if _compiler_takes(flag)]
        environment[name] = " ".join([*known, os.environ.get(name, "")]).strip()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".building-", dir=folder) as name:
        # pip keeps what it built by the source alone, not by how: it would hand out another build.
        command = ["wheel", "--no-cache-dir", "--no-binary", "llama-cpp-python", "--no-deps",
                   "--wheel-dir", name, requirement]  # fmt: skip
        done = subprocess.run([sys.executable, "-m", "pip", *command], env=environment,
                              capture_output=True, text=True)  # fmt: skip
        if done.returncode:
            log = folder / "build.log"
            said = f"{done.stdout}\n{done.stderr}"
            log.write_text(said, encoding="utf-8")
            if BUILD_FAILED in said:
                note_failure(folder, build.backend)
            return f"pip wheel ended with {done.returncode}; {log} says why"
        for wheel in Path(name).glob("*.whl"):
            wheel.replace(folder / wheel.name)
    (folder / FAILED).unlink(missing_ok=True)
    return ""


def _compiler_takes(flag: str) -> bool:
    """A compiler that does not know an instruction set needs no flag against it."""
    compiler = os.environ.get("CC", "cc")
    command = [compiler, flag, "-x", "c", "-E", os.devnull]
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        return True


def fault_of(wheel: Path) -> str:
    """How the build in a wheel fails to decode a token here; empty where it decodes one."""
    with tempfile.TemporaryDirectory(prefix="edgecomp-") as name:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(name)
        command = [sys.executable, str(PROBE)]
        path = os.pathsep.join(filter(None, [name, os.environ.get("PYTHONPATH")]))
        try:
            done = subprocess.run(
                command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True,
                errors="replace", timeout=PROBE_SECONDS,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return f"it gave no token within {PROBE_SECONDS} s"
    if done.returncode < 0:
        return f"it dies by signal {-done.returncode}"
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return lines[-1]
    return "" if _said_token(done.stdout) else "it decoded nothing"


def _said_token(output: str) -> bool:
    try:
        return "token" in json.loads(output.strip().splitlines()[-1])
    except (IndexError, ValueError):
        return False


def first_working(
    candidates: Sequence[Build],
    wheel_of: Callable[[Build], Path | str],
    say: Callable[[str], None] = print,
) -> Path | None:
    """The wheel of the first build that decodes a token here. `wheel_of` gives a build's wheel, or
    why there is none; a backend that cannot be built once is not tried again."""
    left = list(candidates)
    while left:
        build = left.pop(0)
        wheel = wheel_of(build)
        if isinstance(wheel, str):
            fault = f"cannot be built: {wheel}"
            left = [row for row in left if row.backend != build.backend]
        elif why := fault_of(wheel):
            fault = f"does not work here: {why}"
        else:
            say(f"llama.cpp ({build.backend}, {build.name}) decodes a token here.")
            return wheel
        then = f" Trying {left[0].backend}, {left[0].name}." if left else ""
        say(f"llama.cpp ({build.backend}, {build.name}) {fault}.{then}")
    return None


def _pip(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", *arguments, "--quiet"], check=True)


def _needs(wheel: Path) -> Iterator[str]:
    """What a wheel asks for, without extras."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode("utf-8"))
    for need in metadata.get_all("Requires-Dist") or []:
        if "extra ==" not in need:
            yield need


def main(requirement: str, wheels: str, wanted: str = "auto") -> int:
    """Install the best build that works; 0 where one does."""
    if wanted != "auto" and wanted not in BACKENDS:
        print(f"BACKEND is auto or one of {', '.join(BACKENDS)}, not {wanted!r}.", file=sys.stderr)
        return 2
    flags = processor_flags()
    chosen = choose_backend(wanted)
    if line := unused_card(chosen):
        print(line)
    # A card that was asked for by name is not quietly left out.
    backends = [chosen, "cpu"] if wanted == "auto" and chosen != "cpu" else [chosen]
    if len(backends) > 1 and (line := known_failure(Path(wheels), requirement, chosen, flags)):
        print(line)
        chosen, backends = "cpu", ["cpu"]
    candidates = [row for name in backends for row in builds(name, platform.machine(), flags)]

    def wheel_of(build: Build) -> Path | str:
        folder = wheel_folder(Path(wheels), requirement, build, flags)
        if (kept := kept_wheel(folder)) is None:
            print(f"Building llama.cpp ({build.backend}, {build.name}): some minutes.", flush=True)
            if fault := make_wheel(requirement, build, folder):
                return fault
            kept = kept_wheel(folder)
        assert kept is not None
        _pip("install", "--constraint", str(LOCK), PROBE_NEEDS, *_needs(kept))
        return kept

    wheel = first_working(candidates, wheel_of)
    if wheel is None:
        needs = BACKENDS[chosen].needs
        print(f"No build of llama.cpp works here. The backend {chosen} needs {needs}; BACKEND=cpu "
              "needs gcc and cmake.", file=sys.stderr)  # fmt: skip
        return 1
    _pip("install", "--no-deps", "--force-reinstall", str(wheel))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
