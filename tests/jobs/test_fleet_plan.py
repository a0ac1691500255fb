"""A fleet's plan: who is served by what, who is not and why."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from edgecomp.cli import app
from edgecomp.common.errors import DeviceUnknown, FleetInvalid
from edgecomp.common.events import ignore_progress
from edgecomp.devices.finding import find_device
from edgecomp.formats.exporting import find_exporter
from edgecomp.jobs.fleet_plan import FleetPlan, plan_fleet
from edgecomp.models.reading import read_model
from edgecomp.planning.common_artifacts import Place, artifacts_for
from edgecomp.recipes.constraints import Constraints
from edgecomp.recipes.fleet import FleetLimits, FleetRequest
from edgecomp.runtimes.llama_cpp.client import LlamaCpp
from edgecomp.runtimes.llama_cpp.types_to_make import Types

MIXED = ["raspberry-pi-4-8gb", "rtx-3060-12gb", "rtx-4090"]
"""Where a model of 8 B has little room, more, and much."""


def request(*models: Path, **entries: Any) -> FleetRequest:
    return FleetRequest.model_validate({"models": [str(path) for path in models], **entries})


def test_one_file_serves_all_where_the_smallest_device_allows_it(
    header_only: Callable[[str], Path],
) -> None:
    plan = plan_fleet(request(header_only("Llama-3.1-8B"), devices=MIXED))
    assert len(plan.artifacts) == 1 and not plan.unserved
    assert {row.demand.device for row in plan.served} == set(MIXED)
    (artifact,) = plan.artifacts
    alone = plan_fleet(request(header_only("Llama-3.1-8B"), devices=["rtx-4090"]))
    assert artifact.file_bytes < alone.artifacts[0].file_bytes
    assert artifact.expected_divergence_nats > alone.artifacts[0].expected_divergence_nats


@pytest.mark.parametrize("kind", ["F16", "Q8_0"])
def test_a_format_that_repeats_the_sources_own_types_is_the_source(
    tiny_model: Callable[..., Path], tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "base.gguf"
    find_exporter("gguf").export(read_model(tiny_model("llama")), path, "F16", ignore_progress)
    if kind != "F16":
        LlamaCpp().quantize(path, path := tmp_path / "less.gguf", Types(preset=kind), threads=1)
    devices = ["office-laptop-ddr4", "pixel-9"]
    plan = plan_fleet(request(path, devices=devices, limits={"context": 256}))
    assert [row.format for row in plan.artifacts] == ["source"]
    named = set().union(
        *(
            c.candidates
            for c in artifacts_for(
                read_model(path),
                "llama.cpp",
                [Place(find_device("pixel-9"), Constraints(context=256))],
            )
        )
    )
    assert "source" in named and kind not in named


def test_one_file_more_loses_less_and_one_fewer_leaves_devices_out(
    header_only: Callable[[str], Path],
) -> None:
    plan = plan_fleet(request(header_only("Llama-3.1-8B"), devices=MIXED))
    assert plan.one_more and plan.one_more.files == 2 and plan.one_more.added
    assert plan.one_more.loss_share < plan.loss_share
    assert plan.one_fewer and {row.device for row in plan.one_fewer.unserved} == set(MIXED)


def test_the_set_is_no_larger_than_every_set_tried_in_turn(
    header_only: Callable[[str], Path],
) -> None:
    model = header_only("Llama-3.1-8B")
    wanted = [
        {"profile": "raspberry-pi-4-8gb", "limits": {"min_speed": 2.5}},
        {"profile": "rtx-4090", "limits": {"max_memory": "5GB"}},
        {"profile": "rtx-3060-12gb"},
    ]
    fleet = request(model, devices=wanted, tasks=["safety", "general"])
    plan = plan_fleet(fleet)
    spec = read_model(model)
    places = [
        Place(find_device(str(device.profile)), device.limits.constraints(spec.context_length))
        for device in fleet.devices
    ]
    able = [
        {n for n, c in there.candidates.items() if c.expected_divergence_nats <= tolerated}
        for there in artifacts_for(spec, "llama.cpp", places)
        for tolerated in map(fleet.tolerated, fleet.tasks)
    ]
    met = [names for names in able if names]
    assert len(met) == len(plan.served) and len(able) - len(met) == len(plan.unserved)
    every = sorted(set().union(*met))
    fewest = next(
        size
        for size in range(1, len(met) + 1)
        if any(all(names & set(some) for names in met) for some in combinations(every, size))
    )
    assert len(plan.artifacts) == fewest


def test_a_mixture_of_a_large_device_serves_no_smaller_one(
    header_only: Callable[[str], Path],
) -> None:
    spec = read_model(header_only("Llama-3.1-8B"))
    device = find_device("rtx-4090")
    places = [
        Place(device, FleetLimits(max_size=size).constraints(spec.context_length))
        for size in (4 * 10**9, 5 * 10**9)
    ]
    small, large = artifacts_for(spec, "llama.cpp", places)
    mixtures = [{n for n, c in there.candidates.items() if c.types} for there in (small, large)]
    assert mixtures[0] < mixtures[1]
    name = next(iter(mixtures[0]))
    assert small.candidates[name].file_bytes == large.candidates[name].file_bytes
    losses = [c.expected_divergence_nats for c in large.candidates.values() if c.types]
    assert large.candidates[name].expected_divergence_nats == max(losses) > min(losses)


def test_what_nothing_serves_is_named_with_the_limit_that_is_short(
    header_only: Callable[[str], Path],
) -> None:
    devices = [{"profile": "raspberry-pi-5-8gb", "limits": {"max_size": "10MB"}}, "rtx-4090"]
    plan = plan_fleet(request(header_only("SmolLM2-135M"), devices=devices))
    (row,) = plan.unserved
    assert row.demand.device == "raspberry-pi-5-8gb" and "--max-size 10 MB" in row.reason
    assert [row.demand.device for row in plan.served] == ["rtx-4090"]
    strict = plan_fleet(
        request(
            header_only("SmolLM2-135M"),
            devices=["rtx-4090"],
            limits={"max_size": "80MB"},
            tolerated_nats={"general": 1e-4},
        )
    )
    assert "general tolerates 0.0001" in strict.unserved[0].reason and not strict.artifacts


def test_a_description_means_every_profile_that_it_fits(
    header_only: Callable[[str], Path],
) -> None:
    described = {"memory_at_least": "20GB", "memory_at_most": "30GB", "backend": "cuda"}
    plan = plan_fleet(request(header_only("SmolLM2-135M"), devices=["rtx-4090", described]))
    devices = [row.demand.device for row in plan.served]
    assert {"rtx-4090", "rtx-3090"} <= set(devices) and len(devices) == len(set(devices))
    assert "rtx-5090" not in devices
    wanted = {row.demand.device: row.demand.wanted for row in plan.served}
    assert wanted["rtx-4090"] == "rtx-4090" and "backend cuda" in wanted["rtx-3090"]
    with pytest.raises(FleetInvalid, match="memory at least 900 TB"):
        plan_fleet(request(header_only("SmolLM2-135M"), devices=[{"memory_at_least": "900TB"}]))
    with pytest.raises(DeviceUnknown):
        plan_fleet(request(header_only("SmolLM2-135M"), devices=["rtx-4091"]))


def test_a_device_may_be_served_by_onnx_runtime(tiny_model: Callable[..., Path]) -> None:
    devices = ["pixel-9", {"profile": "pixel-9", "runtime": "onnx"}]
    plan = plan_fleet(request(tiny_model("llama"), devices=devices))
    assert [row.runtime for row in plan.artifacts] == ["llama.cpp", "onnx"]
    assert {row.recipe.runtime for row in plan.artifacts} == {"llama.cpp", "onnx"}


def test_a_file_for_several_tasks_is_judged_for_all_of_them(
    header_only: Callable[[str], Path],
) -> None:
    model = header_only("SmolLM2-135M")
    both = plan_fleet(request(model, devices=["rtx-4090"], tasks=["code", "safety"]))
    assert both.artifacts[0].recipe.constraints.task == "general"
    one = plan_fleet(request(model, devices=["rtx-4090"], tasks=["code"]))
    assert one.artifacts[0].recipe.constraints.task == "code"


def test_two_models_of_one_name_are_refused(
    header_only: Callable[[str], Path], tmp_path: Path
) -> None:
    twin = tmp_path / header_only("SmolLM2-135M").name
    twin.symlink_to(header_only("SmolLM2-135M"))
    with pytest.raises(FleetInvalid, match="both called"):
        plan_fleet(request(header_only("SmolLM2-135M"), twin, devices=["rtx-4090"]))


def test_the_command_prints_the_set_and_exits_3_where_a_device_is_left(
    header_only: Callable[[str], Path], tmp_path: Path
) -> None:
    path = tmp_path / "fleet.yaml"
    entries = {"models": [str(header_only("SmolLM2-135M"))], "devices": ["rtx-4090"]}
    path.write_text(yaml.safe_dump(entries))
    done = CliRunner().invoke(app, ["fleet", "plan", str(path)])
    assert done.exit_code == 0 and "1 file" in done.stdout and "rtx-4090" in done.stdout
    path.write_text(yaml.safe_dump({**entries, "limits": {"max_size": "10MB"}}))
    done = CliRunner().invoke(app, ["fleet", "plan", str(path)])
    assert done.exit_code == 3 and "max-size" in done.stdout
    done = CliRunner().invoke(app, ["fleet", "plan", str(path), "--json"])
    assert FleetPlan.model_validate(json.loads(done.stdout)).unserved
