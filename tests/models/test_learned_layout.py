"""Where a checkpoint's rows lie in a float GGUF, found by content."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFWriter
from safetensors.numpy import save_file

from edgecomp.exporters.gguf import export
from edgecomp.models.learned_layout import RowsOfWeight, learn_layout
from edgecomp.models.reading import read_model

RANDOM = np.random.default_rng(0)
Arrays = dict[str, np.ndarray]


def layout_of(stored: Arrays, in_file: Arrays, folder: Path) -> dict[str, tuple[RowsOfWeight, ...]]:
    save_file(stored, folder / "model.safetensors")
    (folder / "config.json").write_text("{}")
    writer = GGUFWriter(folder / "float.gguf", "llama")
    for name, values in in_file.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return learn_layout(folder, folder / "float.gguf").tensors


def matrix(rows: int, columns: int = 32) -> np.ndarray:
    return RANDOM.standard_normal((rows, columns)).astype(np.float32)


def test_permuted_cut_and_joined_rows_are_found(tmp_path: Path) -> None:
    q, k, fused = matrix(8), matrix(4), matrix(12)
    order = RANDOM.permutation(8)
    found = layout_of(
        {"q": q, "k": k, "fused": fused},
        {
            "plain": k,
            "permuted": q[order],
            "joined": np.concatenate([q, k]),
            "first": fused[:7],
            "second": fused[7:],
        },
        tmp_path,
    )
    whole_q, whole_k = RowsOfWeight(weight="q"), RowsOfWeight(weight="k")
    assert found["plain"] == (whole_k,)
    assert found["permuted"] == (RowsOfWeight(weight="q", rows=tuple(map(int, order))),)
    assert found["joined"] == (whole_q, whole_k)
    assert found["first"] == (RowsOfWeight(weight="fused", rows=tuple(range(7))),)
    assert found["second"] == (RowsOfWeight(weight="fused", rows=tuple(range(7, 12))),)


def test_what_is_not_the_checkpoints_to_the_bit_is_left_out(tmp_path: Path) -> None:
    q = matrix(8)
    other = q.copy()
    other[3, 5] = np.nextafter(other[3, 5], np.float32(9))
    found = layout_of({"q": q}, {"same": q, "other": other, "wider": matrix(8, 64)}, tmp_path)
    assert set(found) == {"same"}


def test_rounded_floats_are_matched_after_the_same_rounding(tmp_path: Path) -> None:
    q = matrix(8)
    found = layout_of({"q": q}, {"half": q.astype(np.float16)}, tmp_path)
    assert found == {"half": (RowsOfWeight(weight="q"),)}


def test_experts_are_stacked_and_a_second_copy_is_the_first(tmp_path: Path) -> None:
    experts = [matrix(4) for _ in range(3)]
    stored = {f"experts.{i}.up": values for i, values in enumerate(experts)}
    found = layout_of(
        stored | {"copy": experts[1].copy()}, {"stacked": np.stack(experts)}, tmp_path
    )
    names = [part.weight for part in found["stacked"]]
    assert names[0] == "experts.0.up"
    assert names[1] in ("experts.1.up", "copy")
    assert names[2] == "experts.2.up"


@pytest.mark.parametrize("columns", [32, 6])
def test_fused_experts_are_found_however_they_are_stored(tmp_path: Path, columns: int) -> None:
    """Outputs by inputs or exchanged, gate and up one after the other or in turns; also square."""
    fused = RANDOM.standard_normal((3, 6, columns)).astype(np.float32)
    exchanged = RANDOM.standard_normal((3, columns, 6)).astype(np.float32)
    outputs = exchanged.swapaxes(1, 2)
    found = layout_of(
        {"fused": fused, "exchanged": exchanged},
        {
            "gate": np.ascontiguousarray(fused[:, :3]),
            "both": fused,
            "exchanged_gate": np.ascontiguousarray(outputs[:, ::2]),
            "exchanged_both": np.ascontiguousarray(outputs),
        },
        tmp_path,
    )
    assert found["gate"] == (RowsOfWeight(weight="fused", rows=(0, 1, 2, 6, 7, 8, 12, 13, 14)),)
    assert found["both"] == (RowsOfWeight(weight="fused"),)
    assert found["exchanged_gate"] == (
        RowsOfWeight(weight="exchanged", rows=(0, 2, 4, 6, 8, 10, 12, 14, 16)),
    )
    assert found["exchanged_both"] == (RowsOfWeight(weight="exchanged"),)


@pytest.mark.parametrize("family", ["llama", "qwen3moe", "phi3", "gemma3"])
def test_a_layout_of_a_row_here_is_found_again(
    tiny_model: Callable[..., Path], tmp_path: Path, family: str
) -> None:
    folder = tiny_model(family)
    file = export(read_model(folder), tmp_path / "float.gguf", "F32").path
    found = learn_layout(folder, file).tensors
    known = {t.name: t for t in read_model(folder).tensors if len(t.shape) > 1}
    assert set(known) <= set(found)
    for name in known:
        if ".attn_q." in name and family == "llama":
            assert found[name][0].rows is not None
