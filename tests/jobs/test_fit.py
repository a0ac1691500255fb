"""The main job end to end on a tiny model: what it writes, what it caches, what it survives."""

from __future__ import annotations

import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from kill.series import differences, leftovers
from rich.console import Console

from edgecomp.bundles.bundle import Manifest, write_bundle
from edgecomp.checks.artifact_checks import tensor_types
from edgecomp.jobs.fit import Fitted
from edgecomp.recipes.calibration_mix import CalibrationMix
from edgecomp.recipes.constraints import Constraints
from edgecomp.recipes.recipe import EvaluationSettings, MeasurementSettings, Recipe, write_recipe
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.results.query import ResultsFilter, read_results
from edgecomp.results.store import STORE
from edgecomp.results.stored_run import StoredRun
from edgecomp.terminal.report_tables import summary

ARGUMENTS = ("--device", "office-laptop-ddr4", "--context", "256", "--items", "2", "--json")
PROCESS_SECONDS = 300


def command(model: Path, out: Path) -> list[str]:
    return [
        sys.executable, "-m", "edgecomp.cli", "fit", str(model), *ARGUMENTS,
        "--max-size", "140kB", "-o", str(out),
    ]  # fmt: skip


def environment(cache: Path) -> dict[str, str]:
    own = {"EDGECOMP_CACHE": str(cache), "EDGECOMP_RESULTS": str(cache.parent / "results")}
    return {**os.environ, **own, "OMP_NUM_THREADS": "1"}


def run(model: Path, out: Path, cache: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command(model, out), *more],
        capture_output=True,
        text=True,
        env=environment(cache),
        timeout=PROCESS_SECONDS,
    )


@pytest.fixture(scope="module")
def source(tiny_model: Callable[..., Path]) -> Path:
    return tiny_model("llama")


@pytest.fixture(scope="module")
def first(
    source: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path, subprocess.CompletedProcess[str]]:
    """A finished run: its bundle, its cache and what it printed."""
    folder = tmp_path_factory.mktemp("fit")
    done = run(source, folder / "bundle", folder / "cache")
    assert done.returncode == 0, done.stderr
    return folder / "bundle", folder / "cache", done


def test_the_bundle_holds_the_artifact_its_report_and_its_launchers(
    first: tuple[Path, Path, subprocess.CompletedProcess[str]],
) -> None:
    bundle, _, done = first
    fitted = Fitted.model_validate_json(done.stdout)
    manifest = Manifest.model_validate_json((bundle / "manifest.json").read_text())
    names = {path.name for path in bundle.iterdir()} - {"manifest.json"}
    assert names == set(manifest.files)
    assert {
        "report.md",
        "report.html",
        "report.json",
        "recipe.yaml",
        "serve.sh",
        "service.sh",
        "Modelfile",
        "lmstudio.json",
    } | {manifest.artifact} == names
    artifact = bundle / manifest.artifact
    assert artifact.stat().st_size == fitted.report.chosen.file_bytes <= 140_000
    assert tensor_types(artifact) == fitted.report.artifact.types
    assert all(check.passed for check in fitted.report.artifact.checks)
    assert {check.name for check in fitted.report.artifact.checks} == {
        "token ids", "greedy text", "finite weights", "size", "tensor types",
    }  # fmt: skip


def test_the_report_stands_predictions_beside_measurements(
    first: tuple[Path, Path, subprocess.CompletedProcess[str]],
) -> None:
    report = Fitted.model_validate_json(first[2].stdout).report
    quantities = [row.quantity for row in report.predictions]
    assert quantities[:2] == ["peak memory", "buffers in ram"] and len(quantities) == 5
    assert abs(report.predictions[1].error_percent) < 5
    said = io.StringIO()
    Console(width=200, file=said).print(summary(Fitted(folder=first[0], report=report)))
    speed = next(row for row in report.predictions if row.quantity.startswith("decode"))
    assert f"{speed.predicted:.1f} predicted" in said.getvalue()
    assert report.divergence.tokens > 1000 and report.divergence.kl_mean > 0
    measured = {row.depth for row in report.measurement.depths}
    assert len(measured) >= 2
    html = (first[0] / "report.html").read_text()
    assert html.count("<svg") == 3
    assert not re.search(r"""(src|href)\s*=\s*["']?https?:|url\(["']?https?:|@import""", html)


def kept_runs(cache: Path) -> tuple[StoredRun, ...]:
    return read_results(ResultsFilter(), cache.parent / "results" / STORE).runs


def test_the_runs_figures_are_kept_predicted_beside_measured(
    first: tuple[Path, Path, subprocess.CompletedProcess[str]],
) -> None:
    report = Fitted.model_validate_json(first[2].stdout).report
    (kept,) = kept_runs(first[1])
    assert (kept.job, kept.device, kept.verdict) == (
        "fit", "office-laptop-ddr4", report.verdict.level,
    )  # fmt: skip
    told = {row.quantity: (row.predicted, row.measured) for row in report.predictions}
    here = {
        row.quantity: (row.predicted, row.measured)
        for row in kept.figures
        if row.device == report.measurement.machine.processor and row.predicted is not None
    }
    assert here["peak memory"] == told["peak memory"]
    assert here["decode"] in told.values() and here["prefill"] in told.values()
    assert here["divergence"] == (
        report.chosen.expected_divergence_nats, report.divergence.kl_mean,
    )  # fmt: skip
    elsewhere = [row for row in kept.figures if row.device == "office-laptop-ddr4"]
    assert {row.quantity for row in elsewhere} >= {"decode", "peak memory"}
    assert all(row.measured is None for row in elsewhere)
    drops = {row.subject: row.measured for row in kept.figures if row.quantity == "drop"}
    assert drops == {row.name: row.drop_points for row in report.comparison.categories}


def test_a_second_identical_run_takes_everything_from_the_cache_and_says_so(
    source: Path, first: tuple[Path, Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    bundle, cache, _ = first
    again = run(source, tmp_path / "again", cache)
    stages = [line for line in again.stderr.splitlines() if ": done, " in line]
    assert stages and all(line.endswith("from the cache") for line in stages)
    for name in ("report.md", "report.html", "recipe.yaml"):
        assert (tmp_path / "again" / name).read_bytes() == (bundle / name).read_bytes(), name
    reports = [
        json.loads((folder / "report.json").read_text()) for folder in (bundle, tmp_path / "again")
    ]
    for report in reports:
        # What is free on the machine is the moment's.
        del report["job_predicted"]
    assert reports[0] == reports[1]
    # Nothing new was found out: the store has one run, whose bundle is the later one.
    (kept,) = kept_runs(cache)
    assert kept.artifact == str(tmp_path / "again")


def test_a_bundle_for_a_phone_has_a_script_that_pushes_and_runs_it(
    first: tuple[Path, Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    report = Fitted.model_validate_json(first[2].stdout).report
    recipe = report.recipe.model_copy(update={"device": "pixel-9"})
    made = write_bundle(report.model_copy(update={"recipe": recipe}), tmp_path / "bundle")
    script = tmp_path / "bundle" / "android" / "run.sh"
    assert os.access(script, os.X_OK) and "android/run.sh" in made.files
    assert made.artifact in script.read_text()
    assert made.files[made.artifact].sha256 in script.read_text()
    assert verify(tmp_path / "bundle").returncode == 0


def verify(bundle: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edgecomp.cli", "verify", str(bundle), *options],
        capture_output=True,
        text=True,
    )


def test_a_whole_bundle_verifies(
    first: tuple[Path, Path, subprocess.CompletedProcess[str]],
) -> None:
    done = verify(first[0])
    assert done.returncode == 0 and "all as the manifest lists them" in done.stdout


def test_a_bundle_that_does_not_fit_a_limit_is_shown_not_to(
    first: tuple[Path, Path, subprocess.CompletedProcess[str]],
) -> None:
    """A worker takes more than 20 MB before it loads anything."""
    done = verify(first[0], "--memory-limit", "20MB")
    assert done.returncode == 2
    assert "does not fit into 20 MB: it was killed while loading" in " ".join(done.stdout.split())
    assert verify(first[0], "--memory-limit", "4GB", "--cpus", "1").returncode == 0


@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "add", "manifest"])
def test_a_damaged_bundle_is_found_out_and_the_file_named(
    first: tuple[Path, Path, subprocess.CompletedProcess[str]], tmp_path: Path, damage: str
) -> None:
    bundle = shutil.copytree(first[0], tmp_path / "bundle")
    manifest = Manifest.model_validate_json((bundle / "manifest.json").read_text())
    victim = bundle / manifest.artifact
    content = victim.read_bytes()
    middle = len(content) // 2
    match damage:
        case "flip":
            flipped = bytes([content[middle] ^ 1])
            victim.write_bytes(content[:middle] + flipped + content[middle + 1 :])
        case "cut":
            victim.write_bytes(content[:middle])
        case "remove":
            victim.unlink()
        case "add":
            victim = bundle / "stranger"
            victim.write_text("?")
        case "manifest":
            victim = bundle / "manifest.json"
            victim.write_text(victim.read_text()[:-10])
    done = verify(bundle)
    assert done.returncode == 2
    assert victim.name in done.stdout + done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_with_the_same_bytes(
    source: Path, first: tuple[Path, Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """Some kills, each at a random moment of what is still to do; then the run is let through.
    `make kill-test` does it 200 times."""
    bundle, cache, _ = first
    moments = random.Random(7)
    for _ in range(4):
        process = subprocess.Popen(
            command(source, tmp_path / "bundle"),
            env=environment(tmp_path / "cache"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        time.sleep(moments.uniform(0.3, 6.0))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    done = run(source, tmp_path / "bundle", tmp_path / "cache")
    assert done.returncode == 0, done.stderr
    assert differences(bundle, cache, tmp_path / "bundle", tmp_path / "cache") == []
    assert leftovers(tmp_path) == []


def test_ctrl_c_leaves_a_run_that_can_be_resumed(source: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        command(source, tmp_path / "bundle"),
        env=environment(tmp_path / "cache"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # The jobs that a shell puts into the background ignore it, and so would their children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    began = process.stderr.readline()  # the run says something: it is under way
    assert began
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on from there" in said and "Traceback" not in said
    assert not (tmp_path / "bundle").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    """A disk of 300 kB; skips where none can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("no tmpfs can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("place", ["cache", "bundle"])
def test_a_full_disk_is_an_explained_error_that_leaves_nothing_half_written(
    source: Path,
    first: tuple[Path, Path, subprocess.CompletedProcess[str]],
    small_disk: Path,
    tmp_path: Path,
    place: str,
) -> None:
    out = small_disk / "bundle" if place == "bundle" else tmp_path / "bundle"
    cache = small_disk / "cache" if place == "cache" else first[1]
    done = run(source, out, cache)
    assert done.returncode == 2, done.stderr
    assert "disk" in done.stderr and "Traceback" not in done.stderr
    assert not out.exists() and not list(out.parent.glob(".bundle*"))


DEMO_RECIPE = Recipe(
    model="demo",
    device="office-laptop-ddr4",
    constraints=Constraints(context=512, max_size_bytes=95_000_000),
    runtime="llama.cpp",
    format="Q4_0",
    rounding="gptq",
    settings=RunSettings(context=512, threads=1),
    importance=True,
    calibration=CalibrationMix(samples={"instructions": 16, "math": 16}, row_tokens=64),
    evaluation=EvaluationSettings(items=1, windows=2, window_tokens=256),
    measurement=MeasurementSettings(repeats=1, decode_tokens=16),
)
"""The real model and every stage, with as little of each as keeps the test short."""


@pytest.mark.demo
@pytest.mark.slow
def test_a_recipe_fits_the_real_demo_model_and_passes_every_check(tmp_path: Path) -> None:
    write_recipe(tmp_path / "recipe.yaml", DEMO_RECIPE)
    done = subprocess.run(
        [
            sys.executable, "-m", "edgecomp.cli", "run", str(tmp_path / "recipe.yaml"), "--json",
            "-o", str(tmp_path / "bundle"),
        ],
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = Fitted.model_validate_json(done.stdout).report
    assert report.artifact.size_bytes <= 95_000_000
    assert all(check.passed for check in report.artifact.checks)
    assert report.coherence.coherent
    assert 0 < report.divergence.kl_mean < 0.3
    assert verify(tmp_path / "bundle").returncode == 0


@pytest.mark.slow
def test_a_mixture_of_experts_is_fitted_by_its_own_rounding(
    tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    source = tiny_model("qwen3moe")
    done = run(source, tmp_path / "out", tmp_path / "cache", "--method", "awq+gptq")
    assert done.returncode == 0, done.stderr
    artifact = Fitted.model_validate_json(done.stdout).report.artifact
    assert all(check.passed for check in artifact.checks)
    assert artifact.types["blk.0.ffn_down_exps.weight"] not in ("F32", "F16")
    assert artifact.types["blk.0.ffn_gate_inp.weight"] == "F32"
    assert artifact.expert_use is not None and artifact.expert_use.experts == 8
    assert (tmp_path / "out" / "importance.gguf").is_file()


@pytest.mark.parametrize("runtime", ["onnx", "llama.cpp,transformers"])
def test_a_mixture_for_onnx_is_refused_before_any_work(
    tiny_model: Callable[..., Path], tmp_path: Path, runtime: str
) -> None:
    source = tiny_model("qwen3moe")
    done = run(source, tmp_path / "out", tmp_path / "cache", "--runtime", runtime)
    assert done.returncode == 2
    assert "mixture of experts" in done.stderr and "--runtime llama.cpp" in done.stderr
    assert not (tmp_path / "out").exists()
