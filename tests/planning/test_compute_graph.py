"""The compute buffer of each kind of layer against what llama.cpp reports for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgecomp.exporters.gguf import export
from edgecomp.models.llama_cpp_families import llama_cpp_families
from edgecomp.models.reading import read_model
from edgecomp.planning.compute_graph import graph_bytes
from edgecomp.planning.memory import compute_bytes
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.llama_cpp import runtime

REPORTED_TO_BYTES = 0.005 * 2**20 + 1
"""llama.cpp prints hundredths of a MiB."""

KINDS = {
    "falcon": "attention and feed-forward block side by side",
    "deepseek_v2": "latent attention, a dense layer before mixtures",
    "qwen3_5_moe_text": "delta nets, gated attention, a shared expert",
    "jamba": "Mamba, no positions",
    "falcon_h1": "Mamba 2 beside attention",
    "lfm2": "short convolutions",
    "gemma4_text": "inputs of every layer, shared keys",
    "gemma4_text-moe": "a feed-forward block beside experts",
    "gpt_oss": "biases of experts, all tokens to the end",
    "gpt_bigcode": "joined projections, positions added",
    "olmo": "norms without weights",
    "qwen3_vl": "states of pictures for some layers",
}
QUICK = ("falcon", "lfm2", "olmo")
QUICK_AND_SLOW = [
    name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in KINDS
]


@pytest.mark.skipif(
    llama_cpp_families() is None, reason="no converter is kept here: `make install` keeps it"
)
@pytest.mark.parametrize("name", QUICK_AND_SLOW)
def test_the_buffer_is_what_llama_cpp_reports(
    tiny_family: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    folder = read_model(tiny_family(name))
    file = export(folder, tmp_path / "model.gguf", "F32").path
    model = read_model(file)
    assert (folder.cells_chosen, folder.picture_layers) == (
        model.cells_chosen, model.picture_layers,
    )  # fmt: skip
    for kv_type, flash_attention in (("F16", True), ("F16", False), ("Q8_0", True)):
        settings = RunSettings(
            context=1024, threads=1, kv_type=kv_type, flash_attention=flash_attention
        )
        reported = runtime.buffers(file, settings, allocate=False)["compute"]
        assert graph_bytes(model, settings) == pytest.approx(
            reported, rel=0.01, abs=2 * REPORTED_TO_BYTES
        ), settings


def test_a_model_with_matrices_that_are_not_known_or_missing_is_not_drawn(
    tiny_model: Callable[..., Path],
) -> None:
    model = read_model(tiny_model("llama"))
    strange = next(t for t in model.tensors if t.name == "blk.1.ffn_up.weight")
    strange = strange.model_copy(update={"name": "blk.1.hc_attn_down.weight"})
    other = model.model_copy(update={"tensors": (*model.tensors, strange)})
    without = tuple(t for t in model.tensors if t.name != "blk.1.attn_output.weight")
    settings = RunSettings(context=512, threads=1)
    for changed in (other, model.model_copy(update={"tensors": without})):
        assert graph_bytes(changed, settings) is None
        assert compute_bytes(changed, settings) > 0
