"""The check of graphics cards: that its parts run, and that it can fail."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FOLDER = Path(__file__).parent.parent.parent / "benchmarks" / "gpu"


@pytest.fixture(scope="module")
def check() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gpu_check", FOLDER / "check.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def found(check: ModuleType, **figures: float) -> dict[str, Any]:
    """What a device computed: ones, but for the parts that `figures` names."""
    value = {name: {"a": figures.get(name, 1.0), "b": 1.0} for name in check.TOLERANCES}
    return {**value, "seconds": dict.fromkeys(check.TOLERANCES, 1.0)}


def test_a_card_that_computes_the_same_passes(check: ModuleType) -> None:
    rows = check.equality(found(check), found(check), "one")
    assert len(rows) == len(check.TOLERANCES) and all("ok" in row.outcome for row in rows)


def test_a_part_that_differs_by_more_than_its_tolerance_fails_alone(check: ModuleType) -> None:
    rows = check.equality(found(check, importance=1.002), found(check), "one")
    assert [row.what for row in rows if "FAILS" in row.outcome] == ["one: importance"]


@pytest.mark.parametrize("figure", ["a", "b"])
def test_what_is_no_number_fails(check: ModuleType, figure: str) -> None:
    card = found(check)
    card["GPTQ"] = {**card["GPTQ"], figure: float("nan")}
    rows = check.equality(card, found(check), "one")
    assert [row.what for row in rows if "FAILS" in row.outcome] == ["one: GPTQ"]


def test_a_part_that_did_not_end_fails(check: ModuleType) -> None:
    (row,) = check.equality({"fault": "no time was left"}, found(check), "one")
    assert "FAILS: no time was left" in row.outcome


@pytest.mark.slow
def test_a_block_is_timed_where_there_is_no_card(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(FOLDER / "work.py"), "speed", str(tmp_path / "work"), "tiny"],
        capture_output=True,
        text=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["seconds_a_block"] > 0
