"""llama.cpp's file of predictions: read back as written, in the tool's own layout."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np
import pytest

from edgecomp.common.errors import FileCorrupt, FileTruncated, RuntimeRefused
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.divergence import Logits, Step, divergence, log_probabilities
from edgecomp.runtimes.llama_cpp.client import LlamaCpp
from edgecomp.runtimes.logits_file import (
    is_logits_file,
    placed,
    read_logits_file,
    write_logits_file,
)
from edgecomp.runtimes.protocol import Windows

CONTEXT, CHUNKS = 8, 2
SCORED = CONTEXT - 1 - CONTEXT // 2
TOKENS = np.arange(CONTEXT * CHUNKS, dtype=np.int32).reshape(CHUNKS, CONTEXT)


def rows_of(vocabulary: int, seed: int) -> Logits:
    logits = np.random.default_rng(seed).normal(0, 4, (CHUNKS * SCORED, vocabulary))
    return log_probabilities(logits.astype(np.float32))


def steps(rows: Logits) -> list[Step]:
    """Two tokens at a time, then one."""
    found = []
    for chunk in range(CHUNKS):
        for begin, end in ((0, 2), (2, 3)):
            following = TOKENS[chunk, CONTEXT // 2 + 1 + begin : CONTEXT // 2 + 1 + end]
            at = chunk * SCORED
            found.append(Step(chunk, list(map(int, following)), rows[at + begin : at + end]))
    return found


@pytest.mark.parametrize("vocabulary", [40, 41])
def test_what_is_written_is_what_the_layout_says(vocabulary: int, tmp_path: Path) -> None:
    path, rows = tmp_path / "logits", rows_of(vocabulary, 1)
    write_logits_file(path, TOKENS, vocabulary, steps(rows))
    data = path.read_bytes()
    assert data[:8] == b"_logits_" and is_logits_file(path)
    assert struct.unpack("<3i", data[8:20]) == (CONTEXT, vocabulary, CHUNKS)
    assert struct.unpack("<16i", data[20:84]) == tuple(range(16))
    width = 2 * ((vocabulary + 1) // 2) + 4
    assert len(data) == 84 + 2 * CHUNKS * SCORED * width
    for number, row in enumerate(rows):
        start = 84 + 2 * width * number
        step, lowest = struct.unpack("<2f", data[start : start + 8])
        codes = struct.unpack(f"<{vocabulary}H", data[start + 8 : start + 8 + 2 * vocabulary])
        for value, code in zip(row, codes, strict=True):
            meant = max(float(value), float(row.max()) - 16)
            assert lowest + step * code == pytest.approx(meant, abs=16 / 65535)


def test_the_divergence_read_from_it_is_the_models(tmp_path: Path) -> None:
    path, base, artifact = tmp_path / "logits", rows_of(300, 1), rows_of(300, 2)
    write_logits_file(path, TOKENS, 300, steps(base))
    kept = read_logits_file(path)
    for (at, step), of_base in zip(placed(steps(artifact)), steps(base), strict=True):
        found = kept.expected(at, step)
        assert found.divergence == pytest.approx(divergence(of_base.rows, step.rows), rel=1e-3)
        assert (found.likeliest == of_base.rows.argmax(axis=-1)).all()
        shown = of_base.of_following()
        near = shown > of_base.rows.max(axis=-1) - 16
        assert found.following[near] == pytest.approx(shown[near], abs=1e-3)


def test_the_beginning_of_text_takes_the_first_tokens_place(tmp_path: Path) -> None:
    path = tmp_path / "logits"
    write_logits_file(path, TOKENS, 40, steps(rows_of(40, 1)))
    kept = read_logits_file(path)
    assert kept.windows(None) == TOKENS.tolist()
    assert kept.windows(7)[1] == [7, *range(9, 16)]


def test_damaged_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "logits"
    write_logits_file(path, TOKENS, 40, steps(rows_of(40, 1)))
    whole = path.read_bytes()
    for data, error in (
        (whole[:-1], FileTruncated),
        (whole[:10], FileCorrupt),
        (b"GGUF" + whole[4:], FileCorrupt),
        (whole + b"x", FileCorrupt),
        (whole[:8] + struct.pack("<3i", 8, -40, 2) + whole[20:], FileCorrupt),
    ):
        path.write_bytes(data)
        with pytest.raises(error, match="logits"):
            read_logits_file(path)


def test_llama_cpp_tells_from_the_file_what_it_tells_from_the_base(
    demo_gguf: Path, tmp_path: Path
) -> None:
    """BOS in place of each chunk's first token is the tool's way, so a model without it is used."""
    runtime, path = LlamaCpp(), tmp_path / "logits"
    settings = RunSettings(context=32, outputs=8, threads=1)
    text = " ".join(f"the quick brown fox number {i} jumps" for i in range(40))
    windows = Windows(tokens=32, number=2)
    runtime.write_logits(demo_gguf, settings, text, windows=windows, destination=path)
    same = runtime.compare_logits(path, demo_gguf, settings)
    assert [len(row) for row in same.kl] == [15, 15]
    assert max(max(row) for row in same.kl) < 1e-4
    assert all(math.isclose(value, 1.0) for row in same.agree for value in row)
    other = tmp_path / "other"
    write_logits_file(other, TOKENS, 40, steps(rows_of(40, 1)))
    with pytest.raises(RuntimeRefused, match="40 tokens in its vocabulary"):
        runtime.compare_logits(other, demo_gguf, settings)
