"""What is kept of llama.cpp's source distribution."""

from __future__ import annotations

import importlib.util
import io
import tarfile
from pathlib import Path
from types import ModuleType

import pytest

from edgecomp.models.llama_cpp_families import converted_family, llama_cpp_families, who_lacks

TOOL = Path(__file__).parents[2] / "tools" / "keep_converter.py"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("keep_converter", TOOL)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("x-1/vendor/llama.cpp/conversion/base.py", "conversion/base.py"),
        ("x-1/vendor/llama.cpp/gguf-py/gguf/lazy.py", "gguf-py/gguf/lazy.py"),
        ("x-1/vendor/llama.cpp/src/llama-arch.cpp", "src/llama-arch.cpp"),
        ("x-1/vendor/llama.cpp/src/llama.cpp", None),
        ("x-1/vendor/llama.cpp/conversion/../../../etc/passwd", None),
        ("x-1/llama_cpp/llama.py", None),
    ],
)
def test_the_converter_is_kept_and_nothing_outside_its_folder(
    tool: ModuleType, name: str, kept: str | None
) -> None:
    assert tool.wanted_name(name) == kept


def test_an_archive_is_unpacked_without_its_links(tool: ModuleType, tmp_path: Path) -> None:
    archive = tmp_path / "x.tar.gz"
    with tarfile.open(archive, "w:gz") as made:
        for name, text in (("conversion/base.py", b"pass"), ("src/llama.cpp", b"x")):
            entry = tarfile.TarInfo(f"x-1/vendor/llama.cpp/{name}")
            entry.size = len(text)
            made.addfile(entry, io.BytesIO(text))
        link = tarfile.TarInfo("x-1/vendor/llama.cpp/conversion/link.py")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        made.addfile(link)
    tool.unpack(archive, tmp_path / "made")
    files = [p.relative_to(tmp_path / "made") for p in (tmp_path / "made").rglob("*.py")]
    assert files == [Path("conversion/base.py")]


def test_the_runtimes_families_are_read_from_its_table(tool: ModuleType) -> None:
    source = (
        "static const std::map<llm_arch, const char *> LLM_ARCH_NAMES = {\n"
        '    { LLM_ARCH_CLIP,  "clip"  }, // dummy\n    { LLM_ARCH_SMOLLM3, "smollm3" },\n'
        '    { LLM_ARCH_UNKNOWN, "(unknown)" },\n};\n{ LLM_ARCH_OTHER, "other" }'
    )
    assert tool.families_of_runtime(source) == ["clip", "smollm3"]


def test_without_a_converter_no_class_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGECOMP_CONVERTER", str(tmp_path))
    assert llama_cpp_families() is None
    assert "make install" in who_lacks("Olmo2ForCausalLM")
    assert "runs it" in who_lacks("Olmo2ForCausalLM")
    assert converted_family("Olmo2ForCausalLM") is None


def test_a_class_whose_family_the_runtime_lacks_is_not_converted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGECOMP_CONVERTER", str(tmp_path))
    (tmp_path / "families.json").write_text(
        '{"schema_version": 1, "version": "1", "classes": {"A": "a", "B": "b"}, "runtime": ["a"]}'
    )
    assert (converted_family("A"), converted_family("B")) == ("a", None)
    assert "writes it as b, which its runtime does not load" in who_lacks("B")
