"""What control groups leave of the machine: both versions, own group and those above (A9, P4)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from edgecomp.common.machine_limits import (
    available_memory_bytes,
    control_groups,
    in_memory,
    memory_limit_bytes,
    physical_cores,
    processor_quota,
)

MB = 10**6
Files = dict[str, dict[str, str]]
Place = Callable[[str, str, Files], Path]
V2 = "31 23 0:28 {root} {folder} rw,relatime - cgroup2 cgroup2 rw"
V1 = (
    "35 31 0:32 {root} {folder}/memory rw,relatime - cgroup cgroup rw,memory\n"
    "32 31 0:29 {root} {folder}/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct"
)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A process in a hierarchy of groups: what it would read below /proc/self, all of it files."""

    def make(mounts: str, own: str, groups: Files) -> Path:
        folder = tmp_path / "groups with a space"
        for group, files in groups.items():
            (folder / group).mkdir(parents=True, exist_ok=True)
            for name, text in files.items():
                (folder / group / name).write_text(text + "\n")
        escaped = str(folder).replace(" ", "\\040")
        process = tmp_path / "process"
        process.mkdir()
        (process / "mountinfo").write_text(mounts.replace("{folder}", escaped) + "\n")
        (process / "cgroup").write_text(own + "\n")
        return process

    return make


def test_the_tightest_group_of_version_2_counts_wherever_it_stands(place: Place) -> None:
    process = place(
        V2.format(root="/", folder="{folder}"),
        "0::/slice/box",
        {
            "slice": {"memory.max": str(300 * MB), "cpu.max": "350000 100000"},
            "slice/box": {"memory.max": "max", "cpu.max": "max 100000"},
        },
    )
    assert memory_limit_bytes(process) == 300 * MB
    assert processor_quota(process) == 3.5
    assert [group.name for group in control_groups("cpu", process)][:2] == ["box", "slice"]


def test_version_1_has_a_hierarchy_for_each_controller(place: Place) -> None:
    process = place(
        V1.format(root="/", folder="{folder}"),
        "7:pids:/\n4:memory:/box/inner\n1:cpu,cpuacct:/box",
        {
            "memory/box/inner": {"memory.limit_in_bytes": str(200 * MB)},
            "memory/box": {"memory.limit_in_bytes": "9223372036854771712"},
            "cpu/box": {"cpu.cfs_quota_us": "50000", "cpu.cfs_period_us": "100000"},
            "cpu": {"cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "100000"},
        },
    )
    assert memory_limit_bytes(process) == 200 * MB
    assert processor_quota(process) == 0.5
    assert physical_cores(process) == 1


def test_a_container_finds_its_part_mounted_as_the_root(place: Place) -> None:
    process = place(
        V1.format(root="/docker/4f2a", folder="{folder}"),
        "4:memory:/docker/4f2a\n1:cpu,cpuacct:/docker/4f2a/sub",
        {
            "memory": {"memory.limit_in_bytes": str(100 * MB)},
            "cpu/sub": {"cpu.cfs_quota_us": "200000", "cpu.cfs_period_us": "100000"},
        },
    )
    assert memory_limit_bytes(process) == 100 * MB
    assert processor_quota(process) == 2.0


def test_a_path_outside_what_is_mounted_still_meets_the_mounted_root(place: Place) -> None:
    process = place(
        V2.format(root="/elsewhere", folder="{folder}"),
        "0::/other/box",
        {"": {"memory.max": str(50 * MB)}},
    )
    assert memory_limit_bytes(process) == 50 * MB


def test_pages_of_files_that_rest_count_as_free(place: Place) -> None:
    process = place(
        V2.format(root="/", folder="{folder}"),
        "0::/box",
        {
            "box": {
                "memory.max": str(300 * MB),
                "memory.current": str(250 * MB),
                "memory.stat": f"anon {100 * MB}\ninactive_file {120 * MB}",
            }
        },
    )
    assert available_memory_bytes(process) == 170 * MB


def test_without_groups_the_machine_is_all_there_is(tmp_path: Path) -> None:
    assert memory_limit_bytes(tmp_path) == psutil.virtual_memory().total
    assert processor_quota(tmp_path) is None
    assert 0 < available_memory_bytes(tmp_path) <= psutil.virtual_memory().total
    physical = psutil.cpu_count(logical=False) or 1
    assert 1 <= physical_cores(tmp_path) <= physical


@pytest.fixture
def real_groups() -> Iterator[dict[str, Path]]:
    """A group of this process's own for each controller of version 1, where one can be made."""
    made: dict[str, Path] = {}
    try:
        for controller in ("memory", "cpu"):
            own = next(control_groups(controller), None)  # type: ignore[arg-type]
            if own is None or not (own / "tasks").exists():
                pytest.skip("no control groups of version 1 here")
            made[controller] = own / f"edgecomp-test-{os.getpid()}"
            made[controller].mkdir()
        yield made
    except PermissionError:
        pytest.skip("no control group can be made here")
    finally:
        for group in made.values():
            with suppress(OSError):
                group.rmdir()


def test_the_kernel_s_own_groups_are_read(real_groups: dict[str, Path]) -> None:
    (real_groups["memory"] / "memory.limit_in_bytes").write_text(str(400 * 2**20))
    (real_groups["cpu"] / "cpu.cfs_quota_us").write_text("150000")
    program = "\n".join(
        [
            "import os",
            *(
                f"open({str(g / 'tasks')!r}, 'w').write(str(os.getpid()))"
                for g in real_groups.values()
            ),
            "from edgecomp.common.machine_limits import *",
            "print(memory_limit_bytes(), available_memory_bytes(), processor_quota())",
            "print(physical_cores())",
        ]
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    limit, left, quota, cores = done.stdout.split()
    assert int(limit) == 400 * 2**20 and 0 < int(left) < int(limit)
    assert float(quota) == 1.5 and int(cores) == 1


def test_a_folder_in_memory_is_told_from_one_on_a_disk(tmp_path: Path) -> None:
    (tmp_path / "mountinfo").write_text(
        "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"
        "2 1 0:5 / /tmp rw - tmpfs tmpfs rw\n"
        "3 2 8:2 / /tmp/disk rw - ext4 /dev/sdb1 rw\n"
        "4 1 8:3 / /shm rw - tmpfs shm rw\n"
        "5 1 8:3 / /shm rw - xfs /dev/sdc rw\n"
    )
    assert in_memory(Path("/tmp/edgecomp-1"), tmp_path)
    assert not in_memory(Path("/tmp/disk/x"), tmp_path)
    assert not in_memory(Path("/home/someone"), tmp_path)
    assert not in_memory(Path("/shm"), tmp_path)
