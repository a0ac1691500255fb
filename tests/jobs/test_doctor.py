"""`edgecomp doctor`: native libraries are tried, and each fault has its cure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgecomp.jobs.doctor import Check, Diagnosis, _kernels, examine
from edgecomp.runtimes.transformers.kernels import KERNELS

CHECKS = ["llama.cpp", "converter", "onnxruntime", "torch", "optimum", "kernels of gptq",
          "kernels of compressed-tensors", "cache", "disk", "memory", "processors", "data",
          "calibration"]  # fmt: skip


def _doctor(*arguments: str, **environment: str) -> tuple[int, dict[str, dict[str, Any]], str]:
    done = subprocess.run(
        [sys.executable, "-m", "edgecomp.cli", "doctor", "--json", *arguments],
        env={**os.environ, **environment}, capture_output=True, text=True,
    )  # fmt: skip
    rows = json.loads(done.stdout)["checks"]
    return done.returncode, {row["name"]: row for row in rows}, done.stderr


def test_what_is_installed_here_computes(tmp_path: Path) -> None:
    code, checks, _ = _doctor()
    assert code == 0 and list(checks) == CHECKS
    for name in ("llama.cpp", "onnxruntime", "torch"):
        assert checks[name]["state"] == "works", checks[name]
    assert "decoded a token" in checks["llama.cpp"]["found"]
    assert "CPUExecutionProvider" in checks["onnxruntime"]["found"]


def test_a_library_that_dies_is_a_finding_with_a_cure(tmp_path: Path) -> None:  # A1
    for name in ("llama_cpp", "torch"):
        (tmp_path / f"{name}.py").write_text("import os\nos.kill(os.getpid(), 4)\n")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    data = str(tmp_path)
    code, checks, said = _doctor("--data", data, PYTHONPATH=path, EDGECOMP_CACHE="/proc/nowhere")
    assert code == 1 and "Traceback" not in said
    assert checks["llama.cpp"]["state"] == checks["torch"]["state"] == "fails"
    assert "SIGILL" in checks["llama.cpp"]["found"]
    assert "make install" in checks["llama.cpp"]["cure"]
    assert checks["onnxruntime"]["state"] == "works"
    assert checks["cache"]["state"] == "fails" and "EDGECOMP_CACHE" in checks["cache"]["cure"]
    assert checks["data"]["state"] == "fails" and data in checks["data"]["found"]


def test_kernels_of_quantized_checkpoints_are_tried_where_they_are_installed(
    tmp_path: Path,
) -> None:
    (tmp_path / "compressed_tensors.py").write_text("raise ImportError('no such symbol')\n")
    for name in ("gptqmodel", "optimum"):
        (tmp_path / f"{name}.py").write_text("")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    _, checks, _ = _doctor(PYTHONPATH=path)
    broken = checks["kernels of compressed-tensors"]
    assert (broken["state"], "no such symbol" in broken["found"]) == ("fails", True)
    assert "edgecomp[compressed-tensors]" in broken["cure"]
    assert checks["kernels of gptq"]["state"] == "works"


def test_kernels_that_are_absent_are_told_with_their_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = KERNELS["gptq"]._replace(packages={"gptqmodel": "no_such_module"})
    monkeypatch.setitem(KERNELS, "gptq", absent)
    check = _kernels("gptq")
    assert check.state == "absent" and "run as the floats" in check.found
    assert "edgecomp[gptq]" in check.cure


def test_every_fault_has_a_cure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGECOMP_CACHE", str(tmp_path / "cache"))
    for check in examine(tmp_path).checks:
        assert check.cure or check.state == "works", check


def test_only_what_fails_makes_a_machine_unhealthy() -> None:
    rows = [Check(name="a", state=state, found="") for state in ("works", "warning", "absent")]
    assert Diagnosis(checks=tuple(rows)).healthy
    assert not Diagnosis(checks=(*rows, Check(name="b", state="fails", found=""))).healthy
