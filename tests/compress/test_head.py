"""The output head solved by GPTQ under what enters it, its codes beside the rounded blocks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch

from edgecomp.compress.blocks import walk
from edgecomp.compress.checkpoint import read_tensor
from edgecomp.compress.destination import Destination
from edgecomp.compress.gguf_types import gguf_grid
from edgecomp.compress.head import HeadSolver
from edgecomp.compress.hessian import HessianSum
from edgecomp.compress.packed import read_packed, read_packed_index
from edgecomp.compress.rtn import round_to_nearest
from edgecomp.models.huggingface.model import stored_tensors
from edgecomp.models.reading import read_model

Save = Callable[[str], tuple[Path, Any]]


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_its_codes_lose_less_of_the_logits_than_rounding(
    family: str, save_model: Save, tokens: torch.Tensor, tmp_path: Path
) -> None:
    checkpoint, _ = save_model(family)
    out, total = tmp_path / "rounded", tokens.numel()
    entered = HessianSum(total)
    solver = HeadSolver(checkpoint, out, "Q4_0", total)

    def final(inputs: torch.Tensor) -> None:
        entered.add(inputs)
        solver(inputs)

    written = Destination(out, "nothing", torch.float32)
    walk(checkpoint, tokens, lambda block: None, destination=written, final=final)
    model, index = read_model(checkpoint), read_packed_index(out)
    assert index is not None and set(index.tensors) == {model.head_name}
    entry = index.tensors[model.head_name]
    assert entry.type == "Q4_0"
    solved = torch.from_numpy(
        gguf.dequantize(read_packed(out, entry).numpy(), gguf.GGMLQuantizationType.Q4_0)
    )
    tensor = next(t for t in model.tensors if t.name == model.head_name)
    weight = read_tensor(stored_tensors(checkpoint)[tensor.source_name]).float()
    assert solved.shape == weight.shape
    hessian = entered.mean()
    nearest = round_to_nearest(weight, gguf_grid("Q4_0"), hessian.diagonal()).values
    assert hessian.quadratic(solved - weight) < hessian.quadratic(nearest - weight)
    # As an input it has not become much worse, where it is one.
    assert (
        not model.tied_embeddings
        or (solved - weight).square().sum() < 1.5 * (nearest - weight).square().sum()
    )


def test_a_walk_that_is_complete_has_the_heads_codes(
    save_model: Save, tokens: torch.Tensor, tmp_path: Path
) -> None:
    """The codes come before what completes the checkpoint: a run that was killed between makes both
    again."""
    checkpoint, _ = save_model("llama")
    out = tmp_path / "rounded"

    def killed(inputs: torch.Tensor) -> None:
        raise KeyboardInterrupt

    written = Destination(out, "nothing", torch.float32)
    with pytest.raises(KeyboardInterrupt):
        walk(checkpoint, tokens, lambda block: None, destination=written, final=killed)
    assert read_packed_index(out) is None
    solver = HeadSolver(checkpoint, out, "Q8_0", tokens.numel())
    walk(checkpoint, tokens, lambda block: None, destination=written, final=solver)
    index = read_packed_index(out)
    assert index is not None and index.tensors
