"""Devices side by side, and what each would run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from shapes import SHAPES
from typer.testing import CliRunner

from edgecomp.cli import app
from edgecomp.common.errors import DeviceUnknown
from edgecomp.devices.finding import find_device
from edgecomp.devices.profile import profile_paths
from edgecomp.models.reading import read_model
from edgecomp.planning.device_comparison import compare_devices
from edgecomp.planning.planner import make_plan
from edgecomp.recipes.constraints import Constraints


def test_every_profile_is_planned_for_every_model(header_only: Callable[[str], Path]) -> None:
    models = [read_model(header_only(name)) for name in SHAPES]
    compared = compare_devices((), models, 4096)
    assert [row.device.name for row in compared.devices] == list(profile_paths())
    for row in compared.devices:
        assert [there.model for there in row.planned] == [model.name for model in models]
        assert all(there.chosen or there.nearest for there in row.planned)


def test_what_is_planned_there_is_the_devices_own_plan(header_only: Callable[[str], Path]) -> None:
    model = read_model(header_only("Llama-3.1-8B"))
    names = ("raspberry-pi-5-8gb", "rtx-4090")
    compared = compare_devices(names, [model], 2048)
    for name, row in zip(names, compared.devices, strict=True):
        plan = make_plan(model, find_device(name), Constraints(context=2048))
        assert row.planned[0].chosen == plan.chosen


def test_no_model_is_planned_beyond_its_own_context(tiny_model: Callable[..., Path]) -> None:
    model = read_model(tiny_model("llama"))
    (row,) = compare_devices(("rtx-4090",), [model], 2 * model.context_length).devices
    assert row.planned[0].chosen


def test_an_unknown_device_is_named() -> None:
    with pytest.raises(DeviceUnknown, match="rtx-4090"):
        compare_devices(("rtx-4091",), [], 2048)


def test_the_command_prints_a_row_a_device() -> None:
    names = ["apple-m1", "rtx-4090"]
    done = CliRunner().invoke(app, ["devices", "compare", *names])
    assert done.exit_code == 0
    assert all(name in done.stdout for name in names)
    printed = CliRunner().invoke(app, ["devices", "compare", *names, "--json"])
    assert [row["device"]["name"] for row in json.loads(printed.stdout)["devices"]] == names
