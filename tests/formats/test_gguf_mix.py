"""The restated preset rule against llama.cpp's own quantizer, tensor by tensor."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgecomp.checks.artifact_checks import tensor_types
from edgecomp.formats.gguf_mix import mixed_types
from edgecomp.formats.presets import PRESETS
from edgecomp.measure.synthetic_model import SyntheticShape, write_synthetic
from edgecomp.models.gguf.importance_file import ColumnSums, write_importance
from edgecomp.models.reading import read_model
from edgecomp.processes.child import Child

SHAPES = {
    "every head its own keys": SyntheticShape(
        layers=9, width=256, feed_forward=256, heads=4, kv_heads=4, vocabulary=256
    ),
    "four heads share keys": SyntheticShape(
        layers=8, width=256, feed_forward=256, heads=4, kv_heads=1, vocabulary=256
    ),
    "columns of no whole block": SyntheticShape(
        layers=8, width=288, feed_forward=576, heads=9, kv_heads=3, vocabulary=96
    ),
}
NOT_OFFERED = ("TQ1_0", "TQ2_0", "MXFP4_MOE")
"""Formats for models of their own kind, which the planner drops before it asks for types."""


@pytest.fixture(scope="module")
def worker() -> Iterator[Child]:
    with Child("edgecomp.runtimes.llama_cpp") as child:
        yield child


@pytest.fixture(scope="module", params=SHAPES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mix") / "model.gguf"
    write_synthetic(path, SHAPES[request.param])
    return path


@pytest.fixture(scope="module")
def importance(model: Path) -> Path:
    """Equal weights for every matrix: enough for the formats that ask for a matrix."""
    spec = read_model(model)
    sums = {
        tensor.name: ColumnSums(np.ones((1, tensor.shape[-1])), np.array([1]))
        for tensor in spec.tensors
        if len(tensor.shape) == 2
    }
    path = model.with_name("importance.gguf")
    write_importance(path, sums, chunks=1, chunk_tokens=1, datasets=[])
    return path


@pytest.mark.parametrize("name", [name for name in PRESETS if name not in NOT_OFFERED])
@pytest.mark.parametrize("weighted", [True, False])
def test_every_tensor_gets_the_type_that_llama_cpp_gives_it(
    model: Path, importance: Path, worker: Child, tmp_path: Path, name: str, weighted: bool
) -> None:
    preset = PRESETS[name]
    if preset.needs_importance and not weighted:
        pytest.skip("llama.cpp asks for an importance matrix")
    made = tmp_path / "made.gguf"
    worker.call(
        "quantize",
        source=str(model),
        destination=str(made),
        types={"preset": name, "importance": str(importance) if weighted else None},
        threads=1,
    )
    assert tensor_types(made) == mixed_types(read_model(model), preset, importance=weighted)


def test_an_override_wins_over_the_preset_but_not_over_the_column_rule(model: Path) -> None:
    spec = read_model(model)
    types = mixed_types(
        spec, PRESETS["Q4_0"], importance=False, overrides={"attn_v": "Q8_0", "ffn_down": "Q6_K"}
    )
    assert types["blk.0.attn_v.weight"] == "Q8_0"
    down = next(t for t in spec.tensors if t.name == "blk.0.ffn_down.weight")
    assert types[down.name] == ("Q6_K" if down.shape[-1] % 256 == 0 else "Q8_0")
