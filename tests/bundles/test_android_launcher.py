"""The phone's script pushes what is missing and starts llama.cpp with the planned settings."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest
from scripted_adb import calls

from edgecomp.bundles.android_launcher import android_script, is_android, onnx_android_script
from edgecomp.devices.finding import find_device
from edgecomp.recipes.run_settings import RunSettings

SETTINGS = RunSettings(context=2048, threads=4, kv_type="Q8_0", sequences=3)
THERE = "data/local/tmp/edgecomp"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "my bundle"
    (folder / "android").mkdir(parents=True)
    model = os.urandom(2000)
    (folder / "m-Q4_K_M.gguf").write_bytes(model)
    script = android_script("m-Q4_K_M.gguf", hashlib.sha256(model).hexdigest(), SETTINGS)
    (folder / "android" / "run.sh").write_text(script)
    return folder


@pytest.fixture
def build(tmp_path: Path) -> Path:
    folder = tmp_path / "a build"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "llama-cli").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    return folder


def start(bundle: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["sh", str(bundle / "android" / "run.sh"), *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_model_and_the_build_are_pushed_and_every_setting_arrives(
    device: Path, bundle: Path, build: Path
) -> None:
    done = start(bundle, str(build))
    assert done.returncode == 0, done.stderr
    given = done.stdout.splitlines()
    pairs = dict(zip(given[::2], given[1::2], strict=False))
    assert pairs["--model"] == str(device / THERE / "m-Q4_K_M.gguf")
    assert pairs["--ctx-size"] == "2048" and pairs["--threads"] == "4"
    assert pairs["--cache-type-k"] == "q8_0" and "--parallel" not in given
    pushed = (device / THERE / "m-Q4_K_M.gguf").read_bytes()
    assert pushed == (bundle / "m-Q4_K_M.gguf").read_bytes()


def test_the_second_time_nothing_is_pushed_and_a_damaged_model_is(
    device: Path, bundle: Path, build: Path
) -> None:
    start(bundle, str(build))
    before = len(calls(device))
    assert start(bundle).returncode == 0
    assert "push" not in [call[0] for call in calls(device)[before:]]
    (device / THERE / "m-Q4_K_M.gguf").write_bytes(b"half")
    assert start(bundle).returncode == 0
    assert (device / THERE / "m-Q4_K_M.gguf").stat().st_size == 2000


def test_what_reads_pictures_is_pushed_as_well(device: Path, bundle: Path, build: Path) -> None:
    files = {name: os.urandom(1000) for name in ("m-Q4_K_M.gguf", "m-mmproj-F16.gguf")}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    for name, content in files.items():
        (bundle / name).write_bytes(content)
    model, projector = digests.items()
    script = android_script(*model, SETTINGS, projector)
    (bundle / "android" / "run.sh").write_text(script)
    done = start(bundle, str(build))
    assert done.returncode == 0, done.stderr
    given = done.stdout.splitlines()
    assert given[given.index("--mmproj") + 1] == str(device / THERE / "m-mmproj-F16.gguf")
    for name, content in files.items():
        assert (device / THERE / name).read_bytes() == content
    before = len(calls(device))
    assert start(bundle).returncode == 0
    assert "push" not in [call[0] for call in calls(device)[before:]]


def test_a_phone_without_llama_cli_says_how_it_gets_there(device: Path, bundle: Path) -> None:
    done = start(bundle)
    assert done.returncode == 127 and "./run.sh BUILD" in done.stderr


def test_android_is_every_phone_but_apples() -> None:
    assert is_android(find_device("pixel-9"))
    assert not is_android(find_device("iphone-16-pro"))
    assert not is_android(find_device("raspberry-pi-5-8gb"))


def test_an_onnx_folder_is_pushed_and_model_chat_started_with_the_plans_context(
    device: Path, tmp_path: Path
) -> None:
    bundle, build = tmp_path / "my bundle", tmp_path / "genai build"
    (bundle / "android").mkdir(parents=True)
    (bundle / "m-onnx").mkdir()
    files = {
        name: os.urandom(500) for name in ("model.onnx", "model.onnx.data", "genai_config.json")
    }
    for name, content in files.items():
        (bundle / "m-onnx" / name).write_bytes(content)
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    script = onnx_android_script("m-onnx", digests, SETTINGS)
    (bundle / "android" / "run.sh").write_text(script)
    assert "There is no model_chat" in start(bundle).stderr
    build.mkdir()
    (build / "model_chat").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    done = start(bundle, str(build))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["-m", str(device / THERE / "m-onnx"), "-l", "2048", "-v"]
    there = {path.name: path.read_bytes() for path in (device / THERE / "m-onnx").iterdir()}
    assert there == files
    before = len(calls(device))
    start(bundle)
    assert "push" not in [call[0] for call in calls(device)[before:]]
