"""What commands found out of files that lie there stands in the store, by the names people ask."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgecomp.common.events import Event, Warned, ignore, ignore_progress
from edgecomp.devices.detect import cpu_model
from edgecomp.formats.exporting import find_exporter
from edgecomp.jobs.audit import AuditRequest, audit, save_logits
from edgecomp.jobs.kept_results import keep_audit, keep_compressed, keep_measurement
from edgecomp.jobs.measure import measure_artifact
from edgecomp.making.compress_job import Compressed, CompressionRequest, compression_recipe
from edgecomp.measure.llama_bench import BenchedSpeed, LlamaBench
from edgecomp.measure.request import MeasureRequest
from edgecomp.models.reading import read_model
from edgecomp.recipes.calibration_mix import preset_mix
from edgecomp.recipes.recipe import Recipe
from edgecomp.results.query import ResultsFilter, read_results
from edgecomp.results.stored_run import StoredRun


@pytest.fixture(scope="module")
def tiny_base(tiny_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("kept") / "base.gguf"
    find_exporter("gguf").export(read_model(tiny_model("llama")), path, "F16", ignore_progress)
    return path


@pytest.fixture(autouse=True)
def own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGECOMP_RESULTS", str(tmp_path / "results"))


def kept() -> StoredRun:
    (run,) = read_results(ResultsFilter()).runs
    return run


def test_an_audited_file_is_kept_with_what_it_lost(tiny_base: Path, tmp_path: Path) -> None:
    logits = tmp_path / "base.kld"
    save_logits(str(tiny_base), None, logits)
    found = audit(AuditRequest(files=(str(tiny_base),), base=str(logits)), ignore)
    keep_audit(found, ignore)
    run = kept()
    assert (run.job, run.artifact, run.model) == ("audit", str(tiny_base), "base")
    divergence, size = run.figure("divergence"), run.figure("size")
    assert divergence and size and found.files[0].divergence
    assert divergence.measured == found.files[0].divergence.kl_mean
    assert size.measured == tiny_base.stat().st_size == run.size_bytes
    assert run.format == "F16"


def test_a_load_is_kept_with_its_speed_and_its_tail(tiny_base: Path) -> None:
    found = measure_artifact(str(tiny_base), MeasureRequest(concurrencies=(1,)), ignore)
    keep_measurement(found, str(tiny_base), None, ignore)
    run = kept()
    assert (run.job, run.device, run.threads) == ("measure", cpu_model(), found.settings.threads)
    served = run.figure("served output")
    assert served and served.subject == "1 at a time"
    assert served.measured == found.levels[0].output_tokens_per_second
    assert run.figure("served first token p99")


def test_what_a_phone_measured_is_kept_as_the_phones(tiny_base: Path) -> None:
    speeds = tuple(
        BenchedSpeed(
            prompt_tokens=prompt, output_tokens=output, depth=0, tokens_per_second=(rate,),
            mean_tokens_per_second=rate, standard_deviation=0.0,
        )
        for prompt, output, rate in ((512, 0, 80.0), (0, 128, 9.0))
    )  # fmt: skip
    bench = LlamaBench(
        artifact=tiny_base.name, artifact_bytes=1, device="adb://1", processor="a phone's",
        backends="CPU", runtime="llama.cpp", threads=4, settings=None, speeds=speeds,
    )  # fmt: skip
    keep_measurement(bench, str(tiny_base), "adb://1", ignore)
    run = kept()
    decode, prefill = run.figure("decode"), run.figure("prefill")
    assert decode and prefill
    assert (run.device, decode.device, decode.measured, prefill.measured) == (
        "adb://1", "adb://1", 9.0, 80.0,
    )  # fmt: skip


def test_what_was_compressed_is_kept_with_its_size(tiny_base: Path) -> None:
    found = Compressed(
        folder=tiny_base.parent, file=tiny_base.name, size_bytes=1, types={}, checks=(),
        calibration=None,
    )  # fmt: skip
    keep_compressed(found, recipe_of(tiny_base), ignore)
    run = kept()
    assert (run.job, run.format, run.method) == ("compress", "Q8_0", "awq+gptq")
    assert run.size_bytes == tiny_base.stat().st_size and run.model == "llama0"


def recipe_of(model: Path) -> Recipe:
    wanted = CompressionRequest(model=str(model), format="Q8_0", calibration=preset_mix("general"))
    return compression_recipe(wanted)


def test_a_file_that_is_gone_by_then_costs_the_row_alone(tiny_base: Path, tmp_path: Path) -> None:
    found = Compressed(
        folder=tmp_path, file="gone.gguf", size_bytes=1, types={}, checks=(), calibration=None
    )
    heard: list[Event] = []
    keep_compressed(found, recipe_of(tiny_base), heard.append)
    assert not read_results(ResultsFilter()).runs
    assert [event for event in heard if isinstance(event, Warned)]
