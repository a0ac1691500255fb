"""A build of llama.cpp is installed only where it decodes a token; else a plainer one is (A1)."""

from __future__ import annotations

import importlib.util
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import llama_cpp
import pytest

ROOT = Path(__file__).parents[2]
DYING = "import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n"
X86_FLAGS = {"sse4_2", "avx", "avx2", "fma", "f16c", "bmi2", "avx512f", "avx512_vnni", "amx_int8"}


@pytest.fixture(scope="module")
def installer() -> ModuleType:
    path = ROOT / "tools" / "install_llama_cpp.py"
    spec = importlib.util.spec_from_file_location("install_llama_cpp", path)
    assert spec and spec.loader
    module = sys.modules["install_llama_cpp"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def dying_wheel(tmp_path: Path) -> Path:
    """A build for another processor, as this one sees it."""
    wheel = tmp_path / "llama_cpp_python-0-dying.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("llama_cpp/__init__.py", DYING)
    return wheel


@pytest.fixture(scope="module")
def working_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The build that is installed here, packed again."""
    wheel = tmp_path_factory.mktemp("wheel") / "llama_cpp_python-0-working.whl"
    package = Path(llama_cpp.__file__).parent
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_STORED) as archive:
        for file in package.rglob("*"):
            if file.is_file() and "__pycache__" not in file.parts:
                archive.write(file, file.relative_to(package.parent))
    return wheel


def test_a_build_that_dies_gives_way_to_the_next_plainer_one(
    installer: ModuleType, dying_wheel: Path, working_wheel: Path
) -> None:
    candidates = installer.builds("cpu", "x86_64", X86_FLAGS)
    said: list[str] = []

    def wheel_of(build: object) -> Path:
        return dying_wheel if build is not candidates[-1] else working_wheel

    assert installer.first_working(candidates, wheel_of, said.append) == working_wheel
    assert len(said) == len(candidates) == 3
    assert "dies by signal 4. Trying cpu, native-no-avx512" in said[0]
    assert "Trying cpu, portable" in said[1]
    assert "decodes a token here" in said[2]


def test_where_no_build_works_none_is_chosen(installer: ModuleType, dying_wheel: Path) -> None:
    candidates = installer.builds("cpu", "aarch64", set())
    assert installer.first_working(candidates, lambda build: dying_wheel, lambda line: None) is None


def test_a_backend_that_cannot_be_built_is_left_after_one_try(
    installer: ModuleType, working_wheel: Path
) -> None:
    candidates = [
        *installer.builds("cuda", "x86_64", X86_FLAGS),
        *installer.builds("cpu", "x86_64", X86_FLAGS),
    ]
    tried: list[str] = []

    def wheel_of(build: object) -> Path | str:
        tried.append(build.backend)  # type: ignore[attr-defined]
        return "no nvcc" if tried[-1] == "cuda" else working_wheel

    assert installer.first_working(candidates, wheel_of, lambda line: None) == working_wheel
    assert tried == ["cuda", "cpu"]


PYTHON = """#!{python}
import os, shutil, sys, zipfile
from pathlib import Path
words = sys.argv[1:]
if words[:2] != ["-m", "pip"]:
    print('{{"token": 1}}')
elif words[2] == "wheel":
    cuda = "GGML_CUDA=ON" in os.environ["CMAKE_ARGS"]
    with Path({log!r}).open("a") as log:
        log.write("cuda\\n" if cuda else "cpu\\n")
    if cuda and Path({broken!r}).exists():
        sys.exit(Path({broken!r}).read_text())
    wheel = Path(words[words.index("--wheel-dir") + 1]) / "llama_cpp_python-0-none.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("llama_cpp_python-0.dist-info/METADATA", "Name: llama-cpp-python")
"""
"""A Python whose pip builds an empty wheel, or fails for CUDA as long as a file says how."""

NVCC = "#!/bin/sh\necho release {version}\n"


class Machine:
    """A machine with an nvcc, and a Python that notes which backends it builds."""

    def __init__(self, installer: ModuleType, folder: Path) -> None:
        self.installer, self.folder = installer, folder
        self.broken, self.log = folder / "broken", folder / "log"
        self.python = self._program(
            "python",
            PYTHON.format(python=sys.executable, log=str(self.log), broken=str(self.broken)),
        )
        self.has_nvcc("12.4")

    def _program(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    def has_nvcc(self, version: str) -> None:
        self._program("nvcc", NVCC.format(version=version))

    def install(self, wanted: str = "auto") -> list[str]:
        """What is built."""
        self.log.write_text("")
        wheels = str(self.folder / "wheels")
        self.installer.main("llama-cpp-python==0.3.36", wheels, wanted)
        return self.log.read_text().split()


@pytest.fixture
def machine(installer: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(installer, tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(sys, "executable", str(made.python))
    monkeypatch.setattr(installer, "_metal", lambda: False)
    return made


def test_a_backend_that_could_not_be_built_is_skipped_while_its_compiler_is_the_same(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.broken.write_text("ERROR: Failed building wheel for llama-cpp-python")
    assert machine.install() == ["cuda", "cpu"]
    capsys.readouterr()
    assert machine.install() == []
    said = capsys.readouterr().out
    assert "build.log) and is skipped. `make install BACKEND=cuda` tries it again." in said
    machine.has_nvcc("13.0")
    assert machine.install() == ["cuda"]
    assert machine.install() == []


def test_a_backend_that_is_asked_for_is_tried_again_and_no_longer_skipped_once_it_is_built(
    machine: Machine,
) -> None:
    machine.broken.write_text("ERROR: Failed building wheel for llama-cpp-python")
    assert machine.install() == ["cuda", "cpu"]
    assert machine.install("cuda") == ["cuda"]
    machine.broken.unlink()
    assert machine.install() == []
    assert machine.install("cuda") == ["cuda"]
    assert not list(machine.folder.glob("wheels/*/failed.json"))


def test_a_source_that_could_not_be_fetched_is_no_failed_build(machine: Machine) -> None:
    machine.broken.write_text("ERROR: Could not find a version that satisfies the requirement")
    assert machine.install() == ["cuda", "cpu"]
    assert machine.install() == ["cuda"]


def test_amx_is_compiled_out_and_each_build_is_plainer_than_the_one_before(
    installer: ModuleType,
) -> None:
    native, no_avx512, portable = installer.builds("cpu", "x86_64", X86_FLAGS)
    assert set(installer.WITHOUT_AMX) <= set(native.compiler_flags)
    assert {"-mno-avx512f", *native.compiler_flags} == set(no_avx512.compiler_flags)
    assert {"-DGGML_NATIVE=OFF", "-DGGML_AVX2=ON"} <= set(portable.options)
    assert not any("AVX512" in option or "AMX" in option for option in portable.options)
    oldest = installer.builds("cpu", "AMD64", {"sse4_2"})[-1]
    assert {"-DGGML_AVX=OFF", "-DGGML_AVX2=OFF", "-DGGML_SSE42=ON"} <= set(oldest.options)


def test_a_kept_wheel_is_known_by_version_backend_build_and_processor(
    installer: ModuleType, tmp_path: Path
) -> None:
    build, plainer = installer.builds("cpu", "x86_64", X86_FLAGS)[:2]
    requirement = "llama-cpp-python==0.3.36"
    folders = {
        installer.wheel_folder(tmp_path, requirement, build, X86_FLAGS),
        installer.wheel_folder(tmp_path, requirement, plainer, X86_FLAGS),
        installer.wheel_folder(tmp_path, requirement, build, X86_FLAGS - {"avx2"}),
        installer.wheel_folder(tmp_path, requirement, build._replace(backend="cuda"), X86_FLAGS),
        installer.wheel_folder(tmp_path, "llama-cpp-python==0.4.0", build, X86_FLAGS),
    }
    assert len(folders) == 5


def test_the_backend_is_that_whose_tools_are_installed(
    installer: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert installer.choose_backend("vulkan") == "vulkan"
    if not Path("/usr/local/cuda/bin/nvcc").exists() and sys.platform != "darwin":
        assert installer.choose_backend("auto") == "cpu"
    for name in ("nvidia-smi", "nvcc"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
        if name == "nvidia-smi":
            assert "make install BACKEND=cuda" in installer.unused_card("cpu")
    if sys.platform != "darwin":
        assert installer.choose_backend("auto") == "cuda"
    assert installer.unused_card("cuda") == ""
