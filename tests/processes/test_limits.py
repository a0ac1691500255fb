"""A worker held to less memory and fewer processors than the machine has."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path

import pytest

from edgecomp.processes.cgroup import ControlGroup, writable_parent
from edgecomp.processes.child import Child
from edgecomp.processes.limits import Limits, MemoryLimitReached, enforced_limits, limited

WORKER = """
    import os, time
    from edgecomp.processes.child import serve

    def take(progress, megabytes, progressed):
        if progressed:
            progress(1, 2)
        held = b"x" * (megabytes * 10**6)
        time.sleep(0.2)
        return len(held)

    def processors(progress):
        return len(os.sched_getaffinity(0))

    serve({"take": take, "processors": processors})
"""


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "greedy_worker.py").write_text(textwrap.dedent(WORKER))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "greedy_worker"


@pytest.mark.parametrize(("progressed", "stage"), [(False, "loading"), (True, "running")])
def test_a_worker_over_its_limit_dies_and_the_moment_is_told(
    worker: str, progressed: bool, stage: str
) -> None:
    limits = Limits(memory_bytes=200 * 10**6)
    with limited(limits), Child(worker) as child, pytest.raises(MemoryLimitReached) as met:
        child.call("take", megabytes=600, progressed=progressed)
    death = met.value.death
    assert death.stage == stage and death.limit_bytes == 200 * 10**6
    assert death.peak_bytes >= death.limit_bytes and death.seconds > 0
    assert "does not fit into 200 MB" in str(met.value)


def test_a_worker_within_its_limit_lives_and_no_limit_outlives_its_block(worker: str) -> None:
    with limited(Limits(memory_bytes=2 * 10**9)), Child(worker) as child:
        assert child.call("take", megabytes=100, progressed=False) == 100 * 10**6
    assert enforced_limits() is None
    with Child(worker) as child:
        assert child.call("take", megabytes=100, progressed=False) == 100 * 10**6


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_a_worker_sees_only_its_processors(worker: str) -> None:
    with limited(Limits(cpus=1)), Child(worker) as child:
        assert child.call("processors") == 1
        kept = enforced_limits()
    assert kept is not None and kept.memory_kept_by is None
    assert kept.cpus_kept_by in ("cgroup", "affinity")


def test_a_control_group_is_written_as_the_kernel_wants_it(tmp_path: Path) -> None:
    """In a folder that is none: the kernel's files are made by hand."""
    made = tmp_path / "edgecomp-77"

    class Prepared(type(tmp_path)):  # type: ignore[misc]
        def mkdir(self, *arguments: object, **options: object) -> None:
            super().mkdir()
            for name in ("memory.swap.max", "cpu.max"):
                (made / name).write_text("max")

    group = ControlGroup(Prepared(tmp_path), 77, 4 * 10**9, 2)
    files = {path.name: path.read_text() for path in made.iterdir()}
    assert files == {
        "memory.max": "4000000000",
        "memory.swap.max": "0",
        "cpu.max": "200000 100000",
        "cgroup.procs": "77",
    }
    (made / "memory.events").write_text("low 0\nhigh 0\nmax 12\noom 1\noom_kill 1\n")
    assert group.reached() and group.peak_bytes() == 4 * 10**9
    (made / "memory.peak").write_text("3999000000\n")
    (made / "memory.events").write_text("oom 0\noom_kill 0\n")
    assert not group.reached() and group.peak_bytes() == 3999 * 10**6


def test_the_parent_is_the_nearest_group_that_hands_on_the_memory_controller(
    tmp_path: Path,
) -> None:
    root = tmp_path / "cgroup"
    (root / "user/app/scope").mkdir(parents=True)
    for folder, controllers in {"": "cpu", "user": "cpu memory", "user/app": "cpu memory pids",
                                "user/app/scope": ""}.items():  # fmt: skip
        (root / folder / "cgroup.subtree_control").write_text(controllers)
    mounts, own = tmp_path / "mounts", tmp_path / "own"
    mounts.write_text(f"proc /proc proc rw 0 0\ncgroup2 {root} cgroup2 rw 0 0\n")
    own.write_text("4:memory:/elsewhere\n0::/user/app/scope\n")
    found = writable_parent(mounts, own)
    assert found is not None and found.folder == root / "user/app"
    assert found.controllers == ("cpu", "memory", "pids")
    own.write_text("0::/\n")
    assert writable_parent(mounts, own) is None
    assert writable_parent(tmp_path / "absent", own) is None


def test_the_kernel_keeps_the_limit_where_a_group_can_be_made(worker: str) -> None:
    if writable_parent() is None:
        pytest.skip("no control group with a memory controller can be made here")
    limits = Limits(memory_bytes=200 * 10**6)
    with limited(limits), Child(worker) as child, pytest.raises(MemoryLimitReached) as met:
        child.call("take", megabytes=600, progressed=False)
    assert met.value.death.kept_by == "cgroup"
