"""The importance matrix, against a plain forward pass of the whole model with hooks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGUFReader
from transformers.pytorch_utils import Conv1D

from edgecomp.compress.importance import compute_importance
from edgecomp.compress.importance_file import read_importance, write_importance
from edgecomp.errors import FileCorrupt
from edgecomp.model import read_model

from .conftest import FAMILIES, Save


@pytest.mark.parametrize("family", FAMILIES)
def test_importance_is_the_mean_square_of_each_input_column(
    family: str, save_model: Save, tokens: torch.Tensor, tmp_path: Path
) -> None:
    folder, model = save_model(family)
    names = {tensor.source_name: tensor.name for tensor in read_model(folder).tensors}
    expected: dict[str, torch.Tensor] = {}

    def note(name: str, inputs: torch.Tensor) -> None:
        expected[name] = inputs.flatten(0, 1).square().mean(dim=0)

    for name, module in model.named_modules():
        gguf_name = names.get(f"{name}.weight")
        if isinstance(module, torch.nn.Linear | Conv1D) and gguf_name:
            module.register_forward_pre_hook(lambda m, x, n=gguf_name: note(n, x[0]))
    with torch.no_grad():
        model(tokens)

    compute_importance(folder, tokens, tmp_path / "importance.gguf", datasets=["noise"])
    found = read_importance(tmp_path / "importance.gguf")
    assert found.keys() == expected.keys()
    for name, weights in expected.items():
        np.testing.assert_allclose(found[name], weights, rtol=1e-5, err_msg=name)


def test_the_file_has_the_layout_of_llama_imatrix(tmp_path: Path) -> None:
    path = tmp_path / "importance.gguf"
    sums = {"blk.0.attn_q.weight": np.array([8.0, 2.0, 4.0])}
    write_importance(path, sums, 4, chunks=2, chunk_tokens=2, datasets=["a.txt", "b.txt"])
    reader = GGUFReader(path)
    assert reader.fields["general.type"].contents() == "imatrix"
    assert "general.architecture" not in reader.fields
    assert reader.fields["imatrix.datasets"].contents() == ["a.txt", "b.txt"]
    assert reader.fields["imatrix.chunk_count"].contents() == 2
    assert reader.fields["imatrix.chunk_size"].contents() == 2
    shapes = {tensor.name: tensor.shape.tolist() for tensor in reader.tensors}
    assert shapes == {
        "blk.0.attn_q.weight.in_sum2": [3, 1],
        "blk.0.attn_q.weight.counts": [1, 1],
    }
    np.testing.assert_array_equal(read_importance(path)["blk.0.attn_q.weight"], [2.0, 0.5, 1.0])


def test_a_model_file_is_no_importance_matrix(tmp_path: Path) -> None:
    import gguf

    path = tmp_path / "model.gguf"
    writer = gguf.GGUFWriter(path, arch="llama")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(FileCorrupt, match="no importance matrix"):
        read_importance(path)
