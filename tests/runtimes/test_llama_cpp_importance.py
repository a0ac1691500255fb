"""Importance from llama.cpp's own graph, beside the one from torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from edgecomp.compress.importance import compute_importance
from edgecomp.exporters.gguf import export
from edgecomp.models.gguf.importance_file import read_sums
from edgecomp.models.reading import read_model
from edgecomp.runtimes.llama_cpp.client import LlamaCpp


@pytest.mark.parametrize("family", ["llama", "gemma3", "qwen2moe"])
def test_the_graphs_importance_is_torchs(
    tiny_model: Callable[..., Path], tmp_path: Path, family: str
) -> None:
    folder = tiny_model(family)
    file = export(read_model(folder), tmp_path / "float.gguf", "F32").path
    tokens = np.random.default_rng(0).integers(5, 500, (2, 96))
    np.save(tmp_path / "tokens.npy", tokens)
    graph, blocks = tmp_path / "graph.gguf", tmp_path / "blocks.gguf"
    LlamaCpp().importance(file, tmp_path / "tokens.npy", graph, datasets=["own"], threads=1)
    compute_importance(folder, torch.from_numpy(tokens), blocks)
    ours, theirs = read_sums(blocks), read_sums(graph)
    assert set(ours) <= set(theirs)
    for name, (squares, counts) in ours.items():
        assert theirs[name].tokens.sum() == counts.sum()
        if "_exps" not in name:  # A router may send a token elsewhere for a rounded input.
            assert np.allclose(theirs[name].squares, squares, rtol=2e-3, atol=1e-3 * squares.max())
