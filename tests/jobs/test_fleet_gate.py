"""Releases of a fleet against a policy, and beside each other. The files are real; what was found
out about them is written here."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from edgecomp.cli import app
from edgecomp.common.digests import file_digest
from edgecomp.common.errors import FleetInvalid, ModelNotFound, RecipeInvalid
from edgecomp.jobs.fleet_compare import HEADER, compare_fleets
from edgecomp.jobs.fleet_gate import FleetPolicy, GateOutcome, gate, read_policy
from edgecomp.jobs.fleet_plan import Demand
from edgecomp.jobs.fleet_release import (
    RELEASE,
    FleetRelease,
    ReleasedArtifact,
    ReleasedDevice,
    read_release,
)
from edgecomp.models.gguf.header import read_gguf_header
from edgecomp.models.gguf.tensor_digests import tensor_digests
from edgecomp.recipes.run_settings import RunSettings

NAME, FILE = "tiny-F32", "tiny.gguf"


@pytest.fixture
def released(tiny_gguf: Path, tmp_path: Path) -> Path:
    """The folder of a release of one artifact, on two devices."""
    folder = tmp_path / "fleet"
    bundle = folder / "artifacts" / NAME
    bundle.mkdir(parents=True)
    shutil.copy(tiny_gguf, bundle / FILE)
    artifact = ReleasedArtifact(
        name=NAME,
        model="tiny",
        runtime="llama.cpp",
        format="F32",
        folder=f"artifacts/{NAME}",
        file=FILE,
        sha256={FILE: file_digest(bundle / FILE)},
        size_bytes=(bundle / FILE).stat().st_size,
        source_sha256="0" * 64,
        task="general",
        verdict="ship",
        summary="Kept.",
        divergence_nats=0.05,
        drop_points={"knowledge": 2.0, "refusal": 0.0},
        peak_memory_bytes=10**8,
        decode_tokens_per_second=200.0,
    )
    devices = [device("pixel-9", 40.0), device("rtx-4090", 900.0)]
    write(folder, FleetRelease(artifacts=(artifact,), devices=tuple(devices)))
    return folder


def device(name: str, speed: float) -> ReleasedDevice:
    return ReleasedDevice(
        demand=Demand(model="tiny", device=name, wanted=name, runtime="llama.cpp", task="general"),
        artifact=NAME,
        fallback=None,
        settings=RunSettings(context=256, threads=2),
        memory_bytes=10**8,
        decode_tokens_per_second=speed,
        speed_basis="predicted",
    )


def write(folder: Path, release: FleetRelease) -> None:
    (folder / RELEASE).write_text(release.model_dump_json())


def next_release(folder: Path, artifact: dict[str, Any], served: dict[str, Any]) -> Path:
    """A copy of a release, with other figures of its artifact and of every device."""
    copy = folder.with_name("next")
    shutil.copytree(folder, copy)
    old = read_release(folder)
    write(
        copy,
        FleetRelease(
            artifacts=tuple(row.model_copy(update=artifact) for row in old.artifacts),
            devices=tuple(row.model_copy(update=served) for row in old.devices),
        ),
    )
    return copy


def broken(folder: Path, policy: dict[str, Any], against: Path | None = None) -> list[str]:
    outcome = gate(folder, FleetPolicy.model_validate(policy), against)
    assert outcome.passed == (not outcome.breaches)
    return [row.figure for row in outcome.breaches]


@pytest.mark.parametrize(
    ("policy", "figures"),
    [
        ({}, []),
        ({"verdicts": ["ship with accepted losses"]}, ["verdict"]),
        ({"drop_points": {"knowledge": 2}}, []),
        ({"drop_points": {"knowledge": 1.9}}, ["knowledge"]),
        ({"drop_points": {"code": 50}}, ["code"]),
        ({"divergence_nats": 0.05}, []),
        ({"divergence_nats": 0.04}, ["divergence_nats"]),
        ({"max_size": "1kB"}, ["max_size"]),
        ({"max_memory": "99MB"}, ["max_memory", "max_memory"]),
        ({"min_speed": 41}, ["min_speed"]),
        ({"min_speed": 40, "max_memory": "100MB", "max_size": "1GB"}, []),
    ],
)
def test_each_figure_of_a_policy_is_held_against_the_release(
    released: Path, policy: dict[str, Any], figures: list[str]
) -> None:
    assert broken(released, policy) == figures


@pytest.mark.parametrize(
    ("artifact", "served", "allowed", "figures"),
    [
        ({}, {}, {"drop_points": {"knowledge": 0}, "decode_percent": 0, "size_percent": 0}, []),
        ({"drop_points": {"knowledge": 4.0}}, {}, {"drop_points": {"knowledge": 1.9}}, 2),
        ({"drop_points": {"knowledge": 4.0}}, {}, {"drop_points": {"knowledge": 2}}, 0),
        ({"drop_points": {}}, {}, {"drop_points": {"knowledge": 2}}, 2),
        ({"divergence_nats": 0.08}, {}, {"divergence_nats": 0.02}, 2),
        ({"divergence_nats": float("inf")}, {}, {"divergence_nats": 0.02}, 2),
        ({"size_bytes": 10**9}, {}, {"size_percent": 10}, 2),
        ({}, {"memory_bytes": 12 * 10**7}, {"memory_percent": 19}, 2),
        ({}, {"memory_bytes": 12 * 10**7}, {"memory_percent": 20}, 0),
        ({}, {"decode_tokens_per_second": 35.0}, {"decode_percent": 12}, 2),
        ({}, {"speed_basis": "measured"}, {"decode_percent": 99}, 2),
    ],
)
def test_a_release_is_held_against_the_last_one(
    released: Path,
    artifact: dict[str, Any],
    served: dict[str, Any],
    allowed: dict[str, Any],
    figures: int | list[str],
) -> None:
    later = next_release(released, artifact, served)
    count = len(broken(later, {"since_last": allowed}, released))
    assert count == (figures if isinstance(figures, int) else 0)


def test_a_device_that_is_no_longer_served_breaks_any_policy(released: Path) -> None:
    later = next_release(released, {}, {})
    release = read_release(later)
    write(later, release.model_copy(update={"devices": release.devices[:1]}))
    assert broken(later, {}, released) == ["served"]


def test_a_limit_that_the_made_file_breaks_breaks_any_policy(released: Path) -> None:
    later = next_release(released, {}, {"faults": ("It needs 9 GB and 8 GB are usable.",)})
    assert broken(later, {}) == ["limits", "limits"]


def test_a_file_that_was_changed_after_it_was_judged_is_seen(released: Path) -> None:
    flip(released, "blk.0.attn_q.weight")
    assert broken(released, {}) == ["hash"]
    (released / "artifacts" / NAME / FILE).unlink()
    assert broken(released, {}) == ["hash"]


def flip(folder: Path, tensor: str) -> None:
    """Change one byte of a tensor."""
    path = folder / "artifacts" / NAME / FILE
    header = read_gguf_header(path)
    row = next(row for row in header.tensors if row.name == tensor)
    with path.open("r+b") as file:
        file.seek(header.data_start + row.offset)
        byte = file.read(1)[0]
        file.seek(header.data_start + row.offset)
        file.write(bytes([byte ^ 1]))


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ("drop_points: {knowlege: 1}", "knowlege"),
        ("smartness: 3", "smartness"),
        ("since_last: {speed: 3}", "speed"),
        ("verdicts: [perfect]", "verdicts"),
    ],
)
def test_a_policy_with_an_unknown_figure_is_refused_by_name(
    tmp_path: Path, policy: str, said: str
) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(policy)
    with pytest.raises(RecipeInvalid, match=said):
        read_policy(path)


def test_a_policy_about_the_last_release_needs_one(released: Path) -> None:
    with pytest.raises(FleetInvalid, match="--against"):
        gate(released, FleetPolicy.model_validate({"since_last": {}}), None)
    with pytest.raises(FleetInvalid, match=r"fleet\.json"):
        gate(released, FleetPolicy(), released.parent)


def test_the_gate_exits_1_for_a_pipeline(released: Path) -> None:
    path = released.with_name("policy.yaml")
    path.write_text("max_size: 1GB\n")
    command = ["fleet", "gate", str(released), "--policy", str(path)]
    assert CliRunner().invoke(app, command).exit_code == 0
    path.write_text("max_size: 1kB\n")
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 1 and "max_size" in done.stdout
    done = CliRunner().invoke(app, [*command, "--json"])
    assert not GateOutcome.model_validate(json.loads(done.stdout)).passed


def test_what_is_the_same_keeps_its_bytes(released: Path) -> None:
    later = next_release(released, {}, {})
    compared = compare_fleets(released, later)
    assert {row.change for row in compared.demands} == {"same"}
    (delta,) = compared.deltas
    path = released / "artifacts" / NAME / FILE
    assert delta.delta_bytes == 0 and not delta.changed
    assert delta.unchanged_parts == 1 + len(read_gguf_header(path).tensors)


def test_the_delta_is_the_bytes_of_the_tensors_that_differ(released: Path) -> None:
    later = next_release(released, {}, {})
    flip(later, "blk.0.attn_q.weight")
    path = later / "artifacts" / NAME / FILE
    artifacts = read_release(later).artifacts
    changed = artifacts[0].model_copy(update={"sha256": {FILE: file_digest(path)}})
    kept = read_release(later).devices[0]
    new = device("t4", 90.0)
    write(later, FleetRelease(artifacts=(changed,), devices=(kept, new)))
    compared = compare_fleets(released, later)
    assert {row.demand.device: row.change for row in compared.demands} == {
        "pixel-9": "changed", "rtx-4090": "gone", "t4": "new",
    }  # fmt: skip
    (delta,) = compared.deltas
    assert delta.changed == ("blk.0.attn_q.weight",) and not (delta.added or delta.removed)
    assert delta.delta_bytes == tensor_digests(path)["blk.0.attn_q.weight"].size_bytes
    done = CliRunner().invoke(app, ["fleet", "compare", str(released), str(later)])
    assert done.exit_code == 0 and "blk.0.attn_q.weight" in done.stdout
    assert HEADER not in delta.changed


def test_an_artifact_that_is_gone_is_named(released: Path) -> None:
    later = next_release(released, {}, {})
    (later / "artifacts" / NAME / FILE).unlink()
    with pytest.raises(ModelNotFound, match=r"tiny\.gguf"):
        compare_fleets(released, later)
