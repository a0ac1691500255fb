"""The command line as a user meets it: fast to start, plain in its errors, JSON on request."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from stored_runs import a_run

from edgecomp.results.store import STORE, add_run

NO_TORCH = """
import sys
from edgecomp.cli import main
sys.argv = ["edgecomp", *{arguments!r}]
try:
    main()
finally:
    heavy = {{"torch", "transformers"}} & set(sys.modules)
    assert not heavy, heavy
"""


def edgecomp(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "edgecomp.cli", *arguments], capture_output=True, text=True
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["inspect", "demo"], ["plan", "demo"], ["devices", "list"]],
    ids=lambda arguments: arguments[0],
)
def test_planning_commands_never_import_torch(arguments: list[str]) -> None:
    code = NO_TORCH.format(arguments=arguments)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize(
    "arguments",
    [["inspect", "demo"], ["plan", "demo"], ["devices", "list"], ["devices", "show", "rtx-4090"]],
    ids=" ".join,
)
def test_json_is_one_versioned_object_on_stdout(arguments: list[str]) -> None:
    value = json.loads(edgecomp(*arguments, "--json").stdout)
    assert value["schema_version"] == 1


@pytest.mark.parametrize("kind", ["model", "plan", "device", "fitted", "verification"])
def test_the_schema_of_every_json_output_is_printed(kind: str) -> None:
    schema = json.loads(edgecomp("schema", kind).stdout)
    assert "schema_version" in schema["properties"]


def test_a_near_miss_of_a_device_is_suggested() -> None:
    said = edgecomp("plan", "demo", "--device", "rtx-409O", code=2).stderr
    assert "Did you mean rtx-4090" in said


@pytest.mark.parametrize(
    ("size", "said"),
    [("6", "'6' is no quantity"), ("6 giga", "is no quantity"), ("-3GB", "is no quantity")],
)
def test_a_size_without_a_known_unit_is_refused(size: str, said: str) -> None:
    assert said in edgecomp("plan", "demo", f"--max-size={size}", code=2).stderr


@pytest.mark.parametrize(
    "limit", ["--min-speed=0", "--min-speed=nan", "--max-size=0MB", "--max-memory=0GB"]
)
def test_a_limit_of_nothing_is_refused(limit: str) -> None:
    said = edgecomp("plan", "demo", limit, code=2).stderr
    assert f"{limit.split('=')[0]} takes a number above 0" in said


def test_a_context_that_is_too_long_is_answered_with_the_longest() -> None:
    said = edgecomp("plan", "demo", "--device", "rtx-4090", "--context", "100000", code=3).stdout
    assert "8192 tokens at most" in said


@pytest.fixture
def broken(tmp_path: Path, demo_gguf: Path) -> dict[str, Path]:
    """Files that are no models, each in its own way."""
    with demo_gguf.open("rb") as file:
        beginning = file.read(3_000_000)
    contents = {
        "empty.gguf": b"",
        "cut.gguf": beginning,
        "magic.gguf": b"XXXX" + beginning[4:],
        "version.gguf": beginning[:4] + b"\x63\x00\x00\x00" + beginning[8:],
        "counts.gguf": beginning[:8] + b"\xff" * 16 + beginning[24:],
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    folders: dict[str, dict[str, bytes]] = {
        "nothing": {},
        "no-weights": {"config.json": b'{"architectures": ["LlamaForCausalLM"]}'},
        "pickle": {"config.json": b"{}", "pytorch_model.bin": b"x"},
        "cut-weights": {"config.json": b"{}", "model.safetensors": b"\x08"},
        "no-json": {"config.json": b"{", "model.safetensors": b"\x02\0\0\0\0\0\0\0{}"},
    }
    for name, files in folders.items():
        (tmp_path / name).mkdir()
        for file_name, content in files.items():
            (tmp_path / name / file_name).write_bytes(content)
    return {path.name: path for path in tmp_path.iterdir()}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("empty.gguf", "it is empty"),
        ("cut.gguf", "is cut short"),
        ("magic.gguf", "it begins with b'XXXX'"),
        ("version.gguf", "GGUF version 99"),
        ("counts.gguf", "is cut short"),
        ("nothing", "has no config.json"),
        ("no-weights", "has no safetensors files"),
        ("pickle", "could run code"),
        ("cut-weights", "is cut short"),
        ("no-json", "not valid JSON"),
    ],
)
@pytest.mark.parametrize("command", ["inspect", "fit"])
def test_a_file_that_is_no_model_is_refused_in_one_paragraph(
    broken: dict[str, Path], tmp_path: Path, command: str, name: str, said: str
) -> None:
    before = set(tmp_path.iterdir())
    done = edgecomp(command, str(broken[name]), code=2)
    assert said in done.stderr and str(broken[name]) in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and not done.stdout
    assert set(tmp_path.iterdir()) == before


def test_debug_shows_the_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edgecomp.cli", "--debug", "inspect", "/nowhere"],
        capture_output=True,
        text=True,
    )
    assert "Traceback" in done.stderr and done.returncode == 1


def test_a_place_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_text("mine")
    done = edgecomp("fit", "demo", "-o", str(place), code=2)
    assert "it is a file" in done.stderr and place.read_text() == "mine"
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    done = edgecomp("fit", "demo", "-o", str(folder), code=2)
    assert "holds other files" in done.stderr and (folder / "mine.txt").read_text() == "mine"


def test_an_impossible_constraint_is_refused_before_any_work(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = edgecomp(
        "fit", "demo", "--device", "office-laptop-ddr4", "--max-size", "1MB", "-o", str(out), code=2
    )
    assert "--max-size 1 MB is too small: the smallest artifact is" in done.stderr
    assert not out.exists()


def test_an_unknown_architecture_is_planned_and_refused_only_where_weights_are_rewritten(
    header_only: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(header_only("SmolLM2-135M"), tmp_path / "strange")
    config = json.loads((folder / "config.json").read_text())
    config["architectures"] = ["StrangeForCausalLM"]
    (folder / "config.json").write_text(json.dumps(config))
    planned = edgecomp("plan", str(folder), "--device", "office-laptop-ddr4")
    assert "planned from its headers only" in planned.stdout
    refused = edgecomp(
        "fit", str(folder), "--device", "office-laptop-ddr4", "-o", str(tmp_path / "out"), code=2
    )
    assert "StrangeForCausalLM" in refused.stderr and not (tmp_path / "out").exists()


def test_a_job_that_this_machine_cannot_do_is_refused_before_it_starts(
    header_only: Callable[[str], Path], tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    """R19, R101: a 70B model's float copy has no room here."""
    headers = header_only("Llama-3.3-70B")
    folder = shutil.copytree(headers, tmp_path / "whole", copy_function=os.symlink)
    # A model without a tokenizer would be refused for that, before it is planned.
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(tiny_model("llama") / name, folder / name)
    done = edgecomp(
        "fit", str(folder), "--device", "rtx-5090", "--context", "2048",
        "--max-size", "30GB", "-o", str(tmp_path / "out"), code=2,
    )  # fmt: skip
    assert "This machine cannot make" in done.stderr and "are free" in done.stderr


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A disk that cannot be written; skips where none can be mounted."""
    place = tmp_path / "read-only"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "ro,size=1m", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no tmpfs can be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_place_without_write_permission_is_refused(read_only: Path) -> None:
    done = edgecomp("fit", "demo", "-o", str(read_only / "out"), code=2)
    assert "cannot be written: read-only file system" in done.stderr


def test_a_cache_without_write_permission_is_refused_before_any_work(
    read_only: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGECOMP_CACHE", str(read_only / "cache"))
    done = edgecomp(
        "fit", "demo", "--device", "office-laptop-ddr4", "-o", str(tmp_path / "out"), code=2
    )
    assert f"{read_only / 'cache'} cannot be written: read-only file system." in done.stderr
    assert "Set EDGECOMP_CACHE" in done.stderr
    assert "are free" not in done.stderr


@pytest.mark.parametrize(
    ("rows", "said"), [(None, "does not exist"), ("", "holds no questions"), ("{", "line 1")]
)
def test_data_without_questions_are_refused_before_any_work(
    tmp_path: Path, rows: str | None, said: str
) -> None:
    data = tmp_path / "data"
    if rows is not None:
        data.mkdir()
        (data / "gsm8k.jsonl").write_text(rows)
    done = edgecomp(
        "fit", "demo", "--device", "office-laptop-ddr4", "--data", str(data), "-o",
        str(tmp_path / "out"), code=2,
    )  # fmt: skip
    assert said in done.stderr and "done" not in done.stderr


def test_results_are_shown_filtered_and_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGECOMP_RESULTS", str(tmp_path))
    assert "No results are kept yet" in edgecomp("results").stdout
    add_run(a_run("Tiny"), tmp_path / STORE)
    add_run(a_run("Large", bits_per_weight=8.5), tmp_path / STORE)
    shown = json.loads(edgecomp("results", "--model", "tin", "--json").stdout)
    assert [row["model"] for row in shown["runs"]] == ["Tiny"] and shown["schema_version"] == 1
    done = edgecomp("results", "--max-bits", "5", "--export", str(tmp_path / "few.csv"))
    assert "2 figures of 1 runs" in done.stderr and not done.stdout
    assert (tmp_path / "few.csv").read_text().count("Tiny") == 2


@pytest.mark.parametrize("since", ["yesterday", "2026-13-40", "1e99d"])
def test_a_time_that_cannot_be_read_is_refused(since: str) -> None:
    assert "2026-11-01" in edgecomp("results", "--since", since, code=2).stderr
