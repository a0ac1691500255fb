"""A fleet made end to end on tiny models: what it writes, and what it survives."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from canned_reports import canned_report, scores, write_canned_bundle

from edgecomp.bundles.bundle import read_manifest, verify_bundle
from edgecomp.common.digests import file_digest
from edgecomp.common.errors import (
    ConstraintsImpossible,
    FleetInvalid,
    NotWritable,
    RunBusy,
)
from edgecomp.common.events import ignore
from edgecomp.jobs import fleet_run
from edgecomp.jobs.fleet_artifact import ARTIFACTS, ArtifactState
from edgecomp.jobs.fleet_compare import compare_fleets
from edgecomp.jobs.fleet_gate import FleetPolicy, gate
from edgecomp.jobs.fleet_plan import PlannedArtifact
from edgecomp.jobs.fleet_release import RELEASE, FleetRelease, read_release
from edgecomp.jobs.fleet_run import LOCK, STATE, FleetStatus, fleet_status, resume_fleet, run_fleet
from edgecomp.models.reading import read_model
from edgecomp.recipes.fleet import FleetRequest, read_fleet
from edgecomp.results.query import ResultsFilter, read_results

PROCESS_SECONDS = 500
made = pytest.mark.slow
"""Two artifacts are made for it, one of them twice begun."""

DEVICES = ["office-laptop-ddr4", "pixel-9", "rtx-4090"]


def entries(*models: Path, **more: Any) -> dict[str, Any]:
    return {
        "models": [str(path) for path in models],
        "devices": DEVICES,
        "tasks": ["general", "code"],
        "limits": {"context": 256, "max_size": "140kB"},
        # A model of so few weights is expected to lose much.
        "tolerated_nats": {"general": 1e3, "code": 1e3},
        "evaluation": {"items": 1, "budget_seconds": None, "windows": 2, "window_tokens": 64},
        **more,
    }


class Begun(NamedTuple):
    """A fleet's command: its file, its folder, and the environment that it runs in."""

    file: Path
    folder: Path
    environment: dict[str, str]

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "edgecomp.cli", "fleet", *arguments],
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=PROCESS_SECONDS,
        )


@pytest.fixture(scope="module")
def killed(
    tiny_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Begun, FleetStatus, tuple[int, int]]:
    """A run of two artifacts that was killed while it made the second: its status then, and what
    the first one's manifest was."""
    place = tmp_path_factory.mktemp("fleet")
    file = place / "fleet.yaml"
    file.write_text(yaml.safe_dump(entries(tiny_model("llama"), tiny_model("qwen2"))))
    environment = {
        **os.environ, "EDGECOMP_CACHE": str(place / "cache"), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    begun = Begun(file, place / "made", environment)
    process = subprocess.Popen(
        [sys.executable, "-m", "edgecomp.cli", "fleet", "run", str(file), "-o", str(begun.folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    assert process.stderr
    lines = []
    second = False
    for line in process.stderr:
        lines.append(line)
        second = second or "Artifact 2 of 2" in line
        if second and ": done" in line:
            break
    assert second, "".join(lines)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(30)
    status = fleet_status(begun.folder)
    return begun, status, written(begun.folder, status)


def written(folder: Path, status: FleetStatus) -> tuple[int, int]:
    state = (folder / "artifacts" / status.artifacts[0].name / "manifest.json").stat()
    return state.st_ino, state.st_mtime_ns


@pytest.fixture(scope="module")
def resumed(killed: tuple[Begun, FleetStatus, tuple[int, int]]) -> Begun:
    begun, _, _ = killed
    done = begun.command("resume", str(begun.folder), "--json")
    assert done.returncode == 0, done.stderr
    assert FleetStatus.model_validate_json(done.stdout).release
    return begun


@made
def test_a_killed_run_keeps_what_is_done(
    killed: tuple[Begun, FleetStatus, tuple[int, int]],
) -> None:
    begun, status, _ = killed
    assert [row.state for row in status.artifacts] == ["done", "waiting"]
    assert not status.running and status.release is None
    assert not (begun.folder / RELEASE).exists()
    with pytest.raises(FleetInvalid, match="not all made"):
        read_release(begun.folder)


@made
def test_it_goes_on_with_the_rest_alone(
    killed: tuple[Begun, FleetStatus, tuple[int, int]], resumed: Begun
) -> None:
    _, _, first = killed
    status = fleet_status(resumed.folder)
    assert [row.state for row in status.artifacts] == ["done", "done"]
    assert written(resumed.folder, status) == first


@made
def test_the_release_says_what_each_device_gets(resumed: Begun) -> None:
    release = read_release(resumed.folder)
    models = {row.demand.model for row in release.devices}
    assert len(models) == 2 and len(release.artifacts) == 2
    assert {(row.demand.device, row.demand.task) for row in release.devices} == {
        (device, task) for device in DEVICES for task in ("general", "code")
    }
    for row in release.artifacts:
        bundle = resumed.folder / row.folder
        assert row.sha256 == {row.file: file_digest(bundle / row.file)}
        assert row.size_bytes <= 140_000 and row.task == "general" and row.drop_points
        assert row.decode_tokens_per_second > 0 and row.peak_memory_bytes > 0
        assert not verify_bundle(bundle).faults
    assert all(row.speed_basis == "predicted" and not row.faults for row in release.devices)


@made
def test_the_same_command_changes_nothing_and_another_file_is_refused(resumed: Begun) -> None:
    before = (resumed.folder / STATE).stat().st_mtime_ns
    wanted = read_fleet(resumed.file)
    status = run_fleet(wanted, resumed.folder, None, ignore)
    assert status.release and (resumed.folder / STATE).stat().st_mtime_ns == before
    other = wanted.model_copy(update={"tasks": ("safety",)})
    with pytest.raises(NotWritable, match="another file or data"):
        run_fleet(other, resumed.folder, None, ignore)


@made
def test_the_status_is_shown_as_a_table(resumed: Begun) -> None:
    done = resumed.command("status", str(resumed.folder))
    assert done.returncode == 0 and "2 of 2 artifacts made." in done.stdout
    assert all(device in done.stdout for device in DEVICES)


@made
def test_a_bundle_that_is_gone_is_to_be_made_again(resumed: Begun, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(resumed.folder, copy)
    name = fleet_status(copy).artifacts[1].name
    shutil.rmtree(copy / "artifacts" / name)
    assert [row.state for row in fleet_status(copy).artifacts] == ["done", "waiting"]


def test_a_fleet_with_a_device_that_nothing_serves_is_not_begun(
    tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    wanted = entries(tiny_model("llama"), limits={"max_size": "1kB", "context": 256})
    with pytest.raises(ConstraintsImpossible, match="office-laptop-ddr4"):
        run_fleet(FleetRequest.model_validate(wanted), tmp_path / "fleet", None, ignore)
    assert not (tmp_path / "fleet").exists()


def test_a_folder_of_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    wanted = FleetRequest.model_validate(entries(tmp_path))
    with pytest.raises(NotWritable, match="other files"):
        run_fleet(wanted, tmp_path, None, ignore)
    with pytest.raises(FleetInvalid, match="holds no fleet"):
        resume_fleet(tmp_path, ignore)


def test_what_a_cluster_makes_is_kept_among_the_drivers_results(
    tiny_model: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = canned_report(read_model(tiny_model("llama")), "Q4_0", scores({}))

    def made_elsewhere(
        address: str, folder: Path, lacking: Sequence[PlannedArtifact], *_: Any
    ) -> Iterator[ArtifactState]:
        first, *others = lacking
        write_canned_bundle(report, folder / ARTIFACTS / first.name)
        yield ArtifactState(name=first.name, state="done")
        yield from (ArtifactState(name=row.name, state="failed") for row in others)

    monkeypatch.setenv("EDGECOMP_RESULTS", str(tmp_path / "results"))
    monkeypatch.setattr(fleet_run, "require_cluster", lambda address: None)
    monkeypatch.setattr(fleet_run, "make_on_cluster", made_elsewhere)
    models = tiny_model("llama"), tiny_model("qwen2")
    request = FleetRequest.model_validate(entries(*models, devices=DEVICES[:1]))
    run_fleet(request, tmp_path / "fleet", None, ignore, "local")
    (kept,) = read_results(ResultsFilter()).runs
    assert (kept.job, kept.model) == ("fleet", report.model.name)
    assert Path(kept.artifact).is_relative_to(tmp_path / "fleet")


@made
def test_an_artifact_that_cannot_be_made_is_told_and_tried_again(
    resumed: Begun, tmp_path: Path
) -> None:
    """Its model is gone since the plan was made."""
    folder = tmp_path / "fleet"
    folder.mkdir()
    run = json.loads((resumed.folder / "run.json").read_text())
    run["plan"]["artifacts"] = run["plan"]["artifacts"][:1]
    run["plan"]["artifacts"][0]["recipe"]["model"] = str(tmp_path / "gone")
    (folder / "run.json").write_text(json.dumps(run))
    status = resume_fleet(folder, ignore)
    assert status.artifacts[0].state == "failed" and "gone" in status.artifacts[0].text
    assert status.release is None
    done = resumed.command("resume", str(folder))
    assert done.returncode == 1 and "failed" in done.stdout


@made
def test_two_processes_do_not_make_one_fleet(resumed: Begun) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", "import sys, time\nfrom filelock import FileLock\n"
         "with FileLock(sys.argv[1]):\n print('held', flush=True); time.sleep(60)",
         str(resumed.folder / LOCK)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert holder.stdout and holder.stdout.readline()
        assert fleet_status(resumed.folder).running
        with pytest.raises(RunBusy):
            resume_fleet(resumed.folder, ignore)
    finally:
        holder.kill()
        holder.wait()


@made
def test_a_release_of_a_newer_version_is_refused(resumed: Begun, tmp_path: Path) -> None:
    text = (
        (resumed.folder / RELEASE).read_text().replace('"schema_version": 1', '"schema_version": 9')
    )
    (tmp_path / RELEASE).write_text(text)
    with pytest.raises(FleetInvalid, match="newer"):
        read_release(tmp_path)


@made
def test_a_release_leads_nowhere_else(resumed: Begun, tmp_path: Path) -> None:
    from edgecomp.common.errors import PathOutside

    release = read_release(resumed.folder)
    first = release.artifacts[0].model_copy(update={"folder": "../elsewhere"})
    evil = release.model_copy(update={"artifacts": (first, *release.artifacts[1:])})
    (tmp_path / RELEASE).write_text(evil.model_dump_json())
    with pytest.raises(PathOutside):
        read_release(tmp_path)
    assert FleetRelease.model_validate_json(evil.model_dump_json()) == evil
    assert read_manifest(resumed.folder / release.artifacts[0].folder)


@made
def test_an_artifact_made_worse_on_purpose_fails_the_gate(
    resumed: Begun, tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    """The last release had room for every bit; this one has 140 kB."""
    limits = {"context": 256}
    wanted = entries(tiny_model("llama"), limits=limits, devices=DEVICES[:1], tasks=["general"])
    file, last = tmp_path / "last.yaml", tmp_path / "last"
    file.write_text(yaml.safe_dump(wanted))
    done = resumed.command("run", str(file), "-o", str(last))
    assert done.returncode == 0, done.stderr
    policy = FleetPolicy.model_validate(
        {
            "verdicts": ["ship", "ship with accepted losses", "incomplete", "do not ship"],
            "since_last": {"divergence_nats": 0.001},
        }
    )
    outcome = gate(resumed.folder, policy, last)
    assert not outcome.passed
    assert {row.figure for row in outcome.breaches} == {"divergence_nats"}
    assert gate(last, policy, last).passed
    (delta,) = compare_fleets(last, resumed.folder).deltas
    assert delta.changed and 0 < delta.delta_bytes <= delta.size_bytes
    assert delta.unchanged_parts < len(delta.changed)
