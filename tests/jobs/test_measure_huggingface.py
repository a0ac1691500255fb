"""A Hugging Face folder is served under load by transformers' continuous batching."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import quantized_checkpoints as made_by

from edgecomp.common.events import Event, Warned
from edgecomp.common.folders import path_bytes
from edgecomp.jobs.measure import measure_artifact
from edgecomp.measure.request import MeasureRequest
from edgecomp.runtimes.transformers.kernels import KERNELS


@pytest.mark.slow
def test_a_quantized_folder_is_served_at_each_concurrency(
    tiny_model: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgecomp.jobs.measure.physical_cores", lambda: 1)
    folder = tmp_path / "eight"
    config = {"quant_method": "gptq", "bits": 8, "group_size": 32}
    made_by.write_quantized(tiny_model("llama-long"), folder, config, made_by.gptq_parts, bits=8)
    heard: list[Event] = []
    request = MeasureRequest(concurrencies=(1, 3), minutes=0.05)
    found = measure_artifact(str(folder), request, heard.append)
    assert found.runtime.startswith("transformers (transformers ")
    assert found.artifact_bytes == path_bytes(folder)
    assert [row.concurrency for row in found.levels] == [1, 3]
    for row in found.levels:
        assert row.first_token_seconds.p50 > 0 and row.output_tokens_per_second > 0
        assert 0 < row.kv_cells_peak <= row.kv_cells
    assert found.sustained is not None and found.sustained.level.served_seconds >= 3
    if KERNELS["gptq"].missing:
        said = [event.text for event in heard if isinstance(event, Warned)]
        assert ["floats that its codes stand for" in text for text in said] == [True]
