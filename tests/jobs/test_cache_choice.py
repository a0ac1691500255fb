"""What each type of the KV cache loses, measured in the real runtime on the demo model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgecomp.common.digests import file_digest
from edgecomp.common.events import ignore
from edgecomp.evaluate.own_text import divergence_text
from edgecomp.formats.cache_types import CACHE_CHOICES
from edgecomp.jobs.cache_choice import measured_cache_losses
from edgecomp.making.compress_job import CompressionRequest, compression_recipe
from edgecomp.models.reading import read_model
from edgecomp.pipeline.run import Run
from edgecomp.pipeline.stage_cache import StoredFile
from edgecomp.recipes.calibration_mix import CalibrationMix
from edgecomp.recipes.constraints import Constraints
from edgecomp.runtimes.llama_cpp.client import LlamaCpp


def test_the_float_model_is_read_once_for_all_types(
    demo_gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    ask = LlamaCpp.ask

    def noted(self: LlamaCpp, request: str, *arguments: Any, **named: Any) -> Any:
        asked.append(request)
        return ask(self, request, *arguments, **named)

    monkeypatch.setattr(LlamaCpp, "ask", noted)
    # The rounded file serves as well as its float weights, which take long to write.
    kept = StoredFile(path=demo_gguf, sha256=file_digest(demo_gguf))
    monkeypatch.setattr("edgecomp.jobs.cache_choice.float_export", lambda run: kept)
    request = CompressionRequest(
        model=str(demo_gguf), format="Q8_0", method="llama.cpp",
        calibration=CalibrationMix(samples={"math": 4}, row_tokens=64),
        constraints=Constraints(context=64),
    )  # fmt: skip
    run = Run(read_model(demo_gguf), compression_recipe(request), None, ignore)
    losses = measured_cache_losses(run, divergence_text())
    assert list(losses) == list(CACHE_CHOICES)
    assert losses["F16"] == 0.0 < losses["Q8_0"] < losses["Q8_0/Q4_0"] < losses["Q4_0"]
    types = len(CACHE_CHOICES) - 1
    assert asked == ["keep_predictions", *["compare_kept"] * types]
    assert measured_cache_losses(run, "too short") == {}
