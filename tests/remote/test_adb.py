"""The protocol of calls to adb, and what comes back."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest
from rich.console import Console
from scripted_adb import calls

from edgecomp.bundles.artifact_argument import NamedArtifact
from edgecomp.common.errors import ConnectionFailed, RemoteFailed
from edgecomp.common.events import ignore
from edgecomp.measure.llama_bench import LlamaBench, bench_arguments
from edgecomp.measure.request import MeasureRequest
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.remote.adb import push_files
from edgecomp.remote.adb_measure import Builds, measure_over_adb
from edgecomp.remote.address import AdbAddress
from edgecomp.remote.measure import measure_on
from edgecomp.remote.partial_names import MACHINE, partial_name, writer
from edgecomp.terminal.result_tables import measured_table

PHONE = AdbAddress(serial="R5CT")
ROW = {
    "build_commit": "abc1234", "build_number": 9000, "cpu_info": "ARM Cortex", "backends": "CPU",
    "n_threads": 4, "n_prompt": 512, "n_gen": 0, "avg_ts": 100.0, "stddev_ts": 1.0,
    "samples_ts": [99.0, 101.0], "a_field_of_a_later_build": True,
}  # fmt: skip
ROWS = [ROW, ROW | {"n_prompt": 0, "n_gen": 128, "avg_ts": 10.0, "n_depth": 0}]
BENCH = (
    f"#!/bin/sh\necho \"$@\" > ../given\necho loading >&2\ncat <<'END'\n{json.dumps(ROWS)}\nEND\n"
)


@pytest.fixture
def build(tmp_path: Path) -> Callable[[str], Path]:
    """Makes a folder with a llama-bench that is a script."""

    def make(script: str = BENCH) -> Path:
        folder = tmp_path / "a build"
        (folder / "bin").mkdir(parents=True, exist_ok=True)
        (folder / "bin" / "llama-bench").write_text(script)
        (folder / "lib").mkdir(exist_ok=True)
        (folder / "lib" / "libllama.so").write_bytes(b"a library")
        return folder

    return make


@pytest.fixture
def artifact(tmp_path: Path) -> NamedArtifact:
    path = tmp_path / "it's a model.gguf"
    path.write_bytes(os.urandom(5000))
    return NamedArtifact(path=path, recipe=None)


def test_the_model_is_pushed_benched_and_its_figures_come_back(
    device: Path, build: Callable[..., Path], artifact: NamedArtifact
) -> None:
    found = measure_over_adb(artifact, PHONE, Builds(build()), ignore)
    there = device / "data/local/tmp/edgecomp"
    assert (there / artifact.path.name).read_bytes() == artifact.path.read_bytes()
    assert (there / "llama.cpp/lib/libllama.so").is_file()
    given = (there / "llama.cpp/given").read_text()
    assert f"-m {there / artifact.path.name}" in given and "-o json" in given
    assert [speed.mean_tokens_per_second for speed in found.speeds] == [100.0, 10.0]
    assert found.speeds[0].tokens_per_second == (99.0, 101.0)
    assert found.runtime == "llama.cpp build 9000 (abc1234)" and found.threads == 4
    assert LlamaBench.model_validate_json(found.model_dump_json()) == found
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(measured_table(found))
    shown = console.export_text()
    assert "adb://R5CT" in shown and "100.00" in shown and "read a prompt" in shown


def test_the_calls_come_in_order_and_files_take_their_names_last(
    device: Path, build: Callable[..., Path], artifact: NamedArtifact
) -> None:
    measure_over_adb(artifact, PHONE, Builds(build()), ignore)
    made = calls(device)
    verbs = [call[0] if call[0] != "shell" else call[1].split()[0] for call in made]
    one_file = ["sha256sum", "mkdir", "push", "sha256sum", "mv"]
    assert verbs == ["get-state", *one_file * 3, "cd"]
    pushed = [call[2] for call in made if call[0] == "push"]
    assert all(Path(name).name.startswith(".") and name.endswith(".partial") for name in pushed)


def test_each_writer_has_a_name_of_its_own_and_what_ended_ones_left_goes(
    device: Path, artifact: NamedArtifact, tmp_path: Path
) -> None:
    folder = device / "data/local/tmp/edgecomp"
    folder.mkdir()
    name = artifact.path.name
    files = {name: artifact.path}
    with writer() as other:
        living, abroad = partial_name(name, other), partial_name(name, "01234567-1-0a0a0a0a")
        ended = [f".{name}.partial", partial_name(name, f"{MACHINE}-{os.getpid()}-0a0a0a0a")]
        for half in (living, abroad, *ended):
            (folder / half).write_bytes(b"half")
        push_files(PHONE, files, PurePosixPath("/data/local/tmp/edgecomp"), lambda *_: None)
    assert {path.name for path in folder.iterdir()} == {name, living, abroad}
    pushed = [Path(call[2]).name for call in calls(device) if call[0] == "push"]
    assert pushed and not {living, abroad, *ended} & set(pushed)


def test_what_is_there_already_is_not_pushed_again(
    device: Path, build: Callable[..., Path], artifact: NamedArtifact
) -> None:
    measure_over_adb(artifact, PHONE, Builds(build()), ignore)
    before = len(calls(device))
    measure_over_adb(artifact, PHONE, Builds(), ignore)
    verbs = [call[0] for call in calls(device)[before:]]
    assert verbs == ["get-state", "shell", "shell"]


def test_the_recipes_settings_are_the_benchs() -> None:
    settings = RunSettings(context=256, threads=6, kv_type="Q8_0", gpu_layers=9, micro_batch=128)
    given = bench_arguments("m.gguf", settings)
    pairs = dict(zip(given[::2], given[1::2], strict=True))
    assert pairs["-t"] == "6" and pairs["-ngl"] == "9" and pairs["-ub"] == "128"
    assert pairs["-ctk"] == pairs["-ctv"] == "q8_0" and pairs["-fa"] == "on"
    assert pairs["-p"] == "256" and pairs["-n"] == "128"


def test_a_device_without_llama_bench_says_how_to_give_it_one(
    device: Path, tmp_path: Path, artifact: NamedArtifact
) -> None:
    with pytest.raises(RemoteFailed, match="--llama-bin"):
        measure_over_adb(artifact, PHONE, Builds(), ignore)
    with pytest.raises(RemoteFailed, match="holds no llama-bench"):
        measure_over_adb(artifact, PHONE, Builds(tmp_path), ignore)


def test_a_device_that_is_not_there_is_an_explained_error(
    device: Path, artifact: NamedArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConnectionFailed, match="'GONE' not found"):
        measure_over_adb(artifact, AdbAddress(serial="GONE"), Builds(), ignore)
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ConnectionFailed, match="platform tools"):
        measure_over_adb(artifact, PHONE, Builds(), ignore)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("#!/bin/sh\necho 'failed to load model' >&2\nexit 1\n", "failed to load model"),
        ("#!/bin/sh\necho '[{\"build_commit\":'\n", "no list of results"),
        ("#!/bin/sh\necho '[]'\n", "ran no test"),
    ],
)
def test_a_bench_that_fails_or_stops_midway_is_never_half_a_result(
    device: Path, build: Callable[..., Path], artifact: NamedArtifact, script: str, message: str
) -> None:
    with pytest.raises(RemoteFailed, match=message):
        measure_over_adb(artifact, PHONE, Builds(build(script)), ignore)


def test_a_device_that_stops_answering_is_an_explained_error(  # A13
    device: Path, build: Callable[..., Path], artifact: NamedArtifact,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("edgecomp.remote.adb_measure.BENCH_SECONDS", 0.5)
    with pytest.raises(ConnectionFailed, match=r"no answer to `adb shell` .*Wake the device"):
        measure_over_adb(artifact, PHONE, Builds(build("#!/bin/sh\nexec sleep 60\n")), ignore)


def test_loads_that_llama_bench_cannot_serve_are_refused(tiny_gguf: Path) -> None:
    with pytest.raises(RemoteFailed, match="one sequence"):
        measure_on(
            "adb://R5CT", str(tiny_gguf), MeasureRequest(minutes=1), ignore,
            remote_python="python3", builds=Builds(),
        )  # fmt: skip
