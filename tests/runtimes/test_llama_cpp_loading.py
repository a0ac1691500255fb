"""What is said of a file whose header is whole and that llama.cpp does not load all the same."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest

from edgecomp.common.errors import RuntimeRefused
from edgecomp.models.gguf.header import read_gguf_header
from edgecomp.runtimes.llama_cpp.client import LlamaCpp
from edgecomp.runtimes.llama_cpp.types_to_make import Types


def test_the_reason_is_llama_cpps_own(tmp_path: Path) -> None:
    path = tmp_path / "new.gguf"
    writer = gguf.GGUFWriter(path, "from-the-future")
    writer.add_tensor("token_embd.weight", np.zeros((4, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(RuntimeRefused, match=r"'from-the-future'\. Download.*llama-cpp-python"):
        LlamaCpp().tokenize(path, ["a"], add_special=False, parse_special=False)


def test_the_quantizer_counts_its_tensors(tiny_gguf: Path, tmp_path: Path) -> None:  # A2
    reported: list[tuple[float, float]] = []
    LlamaCpp().quantize(
        tiny_gguf,
        tmp_path / "q.gguf",
        Types(preset="Q8_0"),
        threads=1,
        progress=lambda done, total: reported.append((done, total)),
    )
    tensors = len(read_gguf_header(tiny_gguf).tensors)
    assert reported == [(number, tensors) for number in range(1, tensors + 1)]
