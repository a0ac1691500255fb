"""Tuning after rounding: a better file with the same codes, or the rounded one and why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest

from edgecomp.common.events import Event, Noted, Warned
from edgecomp.common.tasks import Effort
from edgecomp.compress.gguf_scales import SCALE_PLACES
from edgecomp.making import tuning as stage
from edgecomp.making.compress_job import (
    Compressed,
    CompressionRequest,
    compress,
    compression_recipe,
)
from edgecomp.recipes.calibration_mix import CalibrationMix
from edgecomp.recipes.tuning import TUNINGS, TuningSettings

pytestmark = pytest.mark.usefixtures("lasting_torch")

MIX = CalibrationMix(samples={"math": 24, "instructions": 16}, row_tokens=64)


@pytest.fixture(scope="module")
def source(tiny_model: Callable[..., Path]) -> Path:
    return tiny_model("llama")


@pytest.fixture(scope="module")
def quick(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Compressed:
    return made(source, tmp_path_factory.mktemp("quick"), "quick")[0]


def made(source: Path, folder: Path, effort: Effort = "best") -> tuple[Compressed, list[Event]]:
    heard: list[Event] = []
    wanted = CompressionRequest(
        model=str(source), method="gptq", format="Q4_0", calibration=MIX, effort=effort
    )
    # The same codes at every effort.
    recipe = compression_recipe(wanted)
    return compress(recipe, folder, None, heard.append), heard


def tensors(made: Compressed) -> dict[str, gguf.ReaderTensor]:
    reader = gguf.GGUFReader(made.folder / made.file)
    return {tensor.name: tensor for tensor in reader.tensors}


def without_scales(tensor: gguf.ReaderTensor) -> bytes:
    """A matrix's bytes but for its float16 scales."""
    kind = tensor.tensor_type.name
    _, size = gguf.GGML_QUANT_SIZES[tensor.tensor_type]
    blocks = np.array(tensor.data).view(np.uint8).reshape(-1, size).copy()
    for place in SCALE_PLACES[kind]:
        blocks[:, place : place + 2] = 0
    return blocks.tobytes()


def test_only_scales_and_norms_of_the_file_change(
    source: Path, quick: Compressed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TUNINGS, "best", TuningSettings(rated_nats=1e-9))
    best, heard = made(source, tmp_path)
    assert quick.tuning is None and best.tuning is not None and best.tuning.improved
    assert best.size_bytes == quick.size_bytes
    said = [e.text for e in heard if isinstance(e, Noted) and "held-out" in e.text]
    assert len(said) == 1 and f"{best.tuning.best.divergence:.4f}" in said[0]
    before, after = tensors(quick), tensors(best)
    changed = {name for name in after if after[name].data.tobytes() != before[name].data.tobytes()}
    assert {"output_norm.weight", "blk.0.attn_norm.weight", "blk.1.ffn_down.weight"} <= changed
    for name in changed:
        if after[name].tensor_type.name in SCALE_PLACES:
            assert without_scales(after[name]) == without_scales(before[name])
        else:
            assert name.endswith("norm.weight")


def test_default_makes_what_quick_makes(source: Path, quick: Compressed, tmp_path: Path) -> None:
    default, _ = made(source, tmp_path, "default")
    files = [(row.folder / row.file).read_bytes() for row in (quick, default)]
    assert files[0] == files[1] and default.tuning is None


def test_what_does_not_improve_is_thrown_away_and_said(
    source: Path, quick: Compressed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wild = TuningSettings(scale_rate=2.0, norm_rate=2.0, rated_nats=1e-9)
    monkeypatch.setitem(TUNINGS, "best", wild)
    best, heard = made(source, tmp_path)
    assert best.tuning is not None and not best.tuning.improved
    assert any(isinstance(e, Warned) and "thrown away" in e.text for e in heard)
    files = [(row.folder / row.file).read_bytes() for row in (quick, best)]
    assert files[0] == files[1]


def test_what_memory_forbids_is_left_out_and_said(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "available_memory_bytes", lambda: 10**8)
    best, heard = made(source, tmp_path)
    assert best.tuning is None
    assert any(isinstance(e, Warned) and e.text.startswith("Not tuned: it would") for e in heard)
