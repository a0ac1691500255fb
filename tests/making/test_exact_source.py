"""What a quantized checkpoint holds comes out of an artifact to the bit, and its plan says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
from quantized_checkpoints import awq_parts, gptq_parts, packed_parts, write_quantized

from edgecomp.common.events import ignore
from edgecomp.common.tasks import Rounding
from edgecomp.devices.detect import detect_device
from edgecomp.formats.exact_types import LAST_PLACE
from edgecomp.formats.expected_loss import error_worths, expected_loss
from edgecomp.making.compress_job import CompressionRequest, compress, compression_recipe
from edgecomp.models.reading import read_model
from edgecomp.models.spec import EMBEDDING, ModelSpec
from edgecomp.planning.planner import make_plan
from edgecomp.recipes.calibration_mix import CalibrationMix
from edgecomp.recipes.constraints import Constraints

pytestmark = pytest.mark.usefixtures("lasting_torch")

MIX = CalibrationMix(samples={"math": 24, "instructions": 16}, row_tokens=64)
SOURCES = {
    "gptq": (gptq_parts, {"quant_method": "gptq", "bits": 4, "group_size": 32, "sym": True}, True),
    "awq": (awq_parts, {"quant_method": "awq", "bits": 4, "group_size": 32}, False),
    "compressed-tensors": (
        packed_parts,
        {
            "quant_method": "compressed-tensors",
            "format": "pack-quantized",
            "config_groups": {
                "group_0": {
                    "weights": {"num_bits": 4, "type": "int", "group_size": 32, "symmetric": True}
                }
            },
        },
        True,
    ),
}


def loss_shares(model: ModelSpec, kind: str, *, on_grid: bool) -> set[float]:
    """What a type is expected to lose of the tensors on a grid, or of others, as a share of what
    it loses of any."""
    worths = error_worths(model)
    plain = [t.model_copy(update={"grid": None}) for t in model.tensors]
    return {
        round(expected_loss(t, kind, worths) / expected_loss(rounded, kind, worths), 9)
        for t, rounded in zip(model.tensors, plain, strict=True)
        if t.name in worths and bool(t.grid) == on_grid
    }


@pytest.mark.parametrize("method", ["gptq", "awq+gptq"])
@pytest.mark.parametrize("layout", SOURCES)
def test_codes_of_a_checkpoint_come_through(
    tiny_model: Callable[..., Path], tmp_path: Path, layout: str, method: Rounding
) -> None:
    parts, config, symmetric = SOURCES[layout]
    source = tmp_path / "source"
    stand_for = write_quantized(tiny_model("llama"), source, config, parts, symmetric=symmetric)
    model = read_model(source)
    kind = "Q4_0" if symmetric else "Q5_0"
    (expected,) = loss_shares(model, kind, on_grid=True)
    assert expected == 0 if symmetric else 0 < expected < 1e-3
    assert loss_shares(model, kind, on_grid=False) == {1.0}
    recipe = compression_recipe(
        CompressionRequest(model=str(source), method=method, format=kind, calibration=MIX)
    )
    folder = compress(recipe, tmp_path / "made", None, ignore).folder
    (file,) = folder.glob("*.gguf")
    found = {tensor.name: tensor for tensor in gguf.GGUFReader(file).tensors}
    for tensor in (t for t in model.tensors if t.grid):
        if ".attn_q." in tensor.name or ".attn_k." in tensor.name:
            continue  # llama's queries and keys have their rows in another order
        stored = found[tensor.name]
        assert stored.tensor_type.name == kind
        ours = gguf.dequantize(stored.data, stored.tensor_type)
        theirs = stand_for[tensor.source_name].numpy()
        if symmetric:
            np.testing.assert_array_equal(ours, theirs)
        else:
            error = np.square(ours - theirs).sum() / np.square(theirs).sum()
            assert error <= LAST_PLACE**2 and (ours == theirs).mean() > 0.9


def test_a_mixture_keeps_what_is_exact_and_rounds_the_embedding(
    tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    parts, config, symmetric = SOURCES["gptq"]
    source = tmp_path / "source"
    write_quantized(tiny_model("llama"), source, config, parts, symmetric=symmetric)
    model = read_model(source)
    floor = next(
        row
        for row in make_plan(model, detect_device(), Constraints(context=64)).candidates
        if row.format == "Q4_0"
    )
    plan = make_plan(
        model,
        detect_device(),
        Constraints(context=64, max_size_bytes=round(1.02 * floor.file_bytes)),
    )
    assert plan.chosen is not None and plan.chosen.types
    kinds = {kind for name, kind in plan.chosen.types.items() if name != EMBEDDING}
    assert "Q4_0" in kinds
