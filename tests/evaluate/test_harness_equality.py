"""Log-likelihoods of single questions are those of lm-eval's own model of transformers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import quantized_checkpoints as made_by

from edgecomp.exporters.huggingface import export
from edgecomp.models.chat_template import read_chat_template
from edgecomp.models.reading import read_model
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.transformers import runtime

SETTINGS = RunSettings(context=256, micro_batch=512, outputs=64, threads=1)
PAIRS = (
    ("The capital of France is", " Paris"),
    ("The capital of France is", " Berlin, which lies on the Spree"),
    ("Question: What is 17 + 25?\nAnswer: ", "42"),
    ("Question: What is 17 + 25?\nAnswer: ", "fifty, or so"),
    ("def fibonacci(n):\n    ", "return n if n < 2 else fibonacci(n - 1)"),
    ("Die Hauptstadt heißt", " Köln"),
)


@pytest.mark.parametrize("layout", ["float", "gptq", "compressed-tensors"])
def test_each_log_likelihood_is_that_of_lm_evals_own_model(
    tiny_model: Callable[..., Path], tmp_path: Path, layout: str
) -> None:
    models = pytest.importorskip("lm_eval.models.huggingface")
    from lm_eval.api.instance import Instance

    from edgecomp.evaluate.harness import RuntimeModel

    folder = tested = tiny_model("llama")
    if layout != "float":
        folder = _quantized(folder, tmp_path / "quantized", layout)
        # Read by transformers alone, which lacks the kernels: the floats that the codes stand for.
        tested = export(read_model(folder), tmp_path / "float", "F32").path
    requests = [Instance("loglikelihood", {}, pair, index) for index, pair in enumerate(PAIRS)]
    ours = RuntimeModel(runtime, folder, SETTINGS, read_chat_template(folder))
    theirs = models.HFLM(
        str(tested), dtype="float32", device="cpu", batch_size=1, add_bos_token=True
    )
    wanted = theirs.loglikelihood(requests, disable_tqdm=True)
    for (value, greedy), (expected, expected_greedy) in zip(
        ours.loglikelihood(requests), wanted, strict=True
    ):
        assert value == pytest.approx(expected, rel=1e-6, abs=1e-5)
        assert greedy == expected_greedy


def _quantized(source: Path, folder: Path, layout: str) -> Path:
    groups = {"group_0": {"weights": {"num_bits": 4, "type": "int", "symmetric": False}}}
    config: dict[str, Any] = {"quant_method": "gptq", "bits": 4, "group_size": 32}
    parts = made_by.gptq_parts
    if layout != "gptq":
        packed = {"format": "pack-quantized", "config_groups": groups}
        config, parts = {"quant_method": layout} | packed, made_by.packed_parts
    made_by.write_quantized(source, folder, config, parts)
    return folder
