"""The importance matrix, against a plain forward pass of the whole model with hooks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGUFReader
from transformers.pytorch_utils import Conv1D

from edgecomp.common.errors import FileCorrupt
from edgecomp.compress.importance import compute_importance
from edgecomp.models.gguf.importance_file import (
    ColumnSums,
    read_importance,
    read_sums,
    write_importance,
)
from edgecomp.models.reading import read_model

from .conftest import FAMILIES, MIXTURES, Save


@pytest.mark.parametrize("family", [f for f in FAMILIES if f not in MIXTURES])
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


@pytest.mark.parametrize("family", MIXTURES)
def test_an_experts_importance_is_over_the_tokens_routed_to_it(
    family: str, save_model: Save, tokens: torch.Tensor, tmp_path: Path
) -> None:
    folder, model = save_model(family)
    inputs: list[tuple[torch.Tensor, torch.Tensor]] = []
    for name, module in model.named_modules():
        if name.endswith("mlp.experts"):
            module.register_forward_pre_hook(lambda m, x: inputs.append(x[:2]))
    tokens = tokens[:2]
    with torch.no_grad():
        model(tokens)
    compute_importance(folder, tokens, tmp_path / "importance.gguf")
    sums = read_sums(tmp_path / "importance.gguf")
    unseen = 0
    for layer, (hidden, chosen) in enumerate(inputs):
        experts = model.get_submodule(f"model.layers.{layer}.mlp.experts")
        for role in ("gate", "up", "down"):
            found = sums[f"blk.{layer}.ffn_{role}_exps.weight"]
            assert found.tokens.sum() == tokens.numel() * 2
            for expert in range(6):
                rows = hidden[(chosen == expert).any(dim=1)]
                if role == "down":
                    gate, up = (rows @ experts.gate_up_proj[expert].T).chunk(2, dim=-1)
                    rows = experts.act_fn(gate) * up
                assert found.tokens[expert] == len(rows)
                unseen += not len(rows)
                expected = rows.detach().square().sum(dim=0)
                np.testing.assert_allclose(found.squares[expert], expected, rtol=1e-4)
    weights = read_importance(tmp_path / "importance.gguf")["blk.0.ffn_down_exps.weight"]
    counts = sums["blk.0.ffn_down_exps.weight"].tokens
    by_expert = weights.reshape(6, -1)
    assert all(
        (row == 1).all() == (count == 0) for row, count in zip(by_expert, counts, strict=True)
    )


def test_the_file_has_the_layout_of_llama_imatrix(tmp_path: Path) -> None:
    path = tmp_path / "importance.gguf"
    sums = {
        "blk.0.attn_q.weight": ColumnSums(np.array([[8.0, 2.0, 4.0]]), np.array([4])),
        "blk.0.ffn_up_exps.weight": ColumnSums(
            np.array([[8.0, 2.0], [0.0, 0.0]]), np.array([2, 0])
        ),
    }
    write_importance(path, sums, chunks=2, chunk_tokens=2, datasets=["a.txt", "b.txt"])
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
        "blk.0.ffn_up_exps.weight.in_sum2": [2, 2],
        "blk.0.ffn_up_exps.weight.counts": [1, 2],
    }
    found = read_importance(path)
    np.testing.assert_array_equal(found["blk.0.attn_q.weight"], [2.0, 0.5, 1.0])
    np.testing.assert_array_equal(found["blk.0.ffn_up_exps.weight"], [4.0, 1.0, 1.0, 1.0])


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
