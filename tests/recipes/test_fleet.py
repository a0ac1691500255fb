"""A fleet's file: what it may say, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecomp.common.errors import RecipeInvalid
from edgecomp.formats.expected_loss import TOLERATED_NATS
from edgecomp.recipes.fleet import FleetLimits, read_fleet

FLEET = """\
models: [demo]
devices:
  - pixel-9
  - memory_at_least: 20 GB
    backend: cuda
    limits: {max_memory: 8GB}
tasks: [code]
limits: {max_memory: 2GB, context: 2048}
tolerated_nats: {code: 0.01}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "fleet.yaml"
    path.write_text(text)
    return path


def test_sizes_have_units_and_a_device_is_a_name_or_a_description(tmp_path: Path) -> None:
    fleet = read_fleet(written(tmp_path, FLEET))
    assert fleet.devices[0].profile == "pixel-9"
    assert fleet.devices[1].label == "memory at least 20 GB, backend cuda"
    assert fleet.devices[1].limits.over(fleet.limits) == FleetLimits(
        max_memory=8 * 10**9, context=2048
    )
    assert fleet.tolerated("code") == 0.01
    assert fleet.tolerated("general") == TOLERATED_NATS["general"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("pixel-9", "{profile: pixel-9, backend: cpu}", "say nothing more"),
        ("pixel-9", "{limits: {}}", "profile's name, or described"),
        ("2GB", "2", None),
        ("2GB", "2 gallons", "limits.max_memory"),
        ("2GB", "0GB", "limits.max_memory"),
        ("tasks: [code]", "tasks: [cod]", "tasks"),
        ("models: [demo]", "models: []", "models"),
        ("limits: {max_memory: 2GB", "limits: {max_memry: 2GB", "max_memry"),
    ],
)
def test_a_broken_fleet_is_refused_by_its_field(
    tmp_path: Path, old: str, new: str, said: str | None
) -> None:
    path = written(tmp_path, FLEET.replace(old, new))
    if said is None:
        assert read_fleet(path).limits.max_memory == 2
        return
    with pytest.raises(RecipeInvalid, match=said):
        read_fleet(path)
