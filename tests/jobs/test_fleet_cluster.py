"""A fleet on a Ray cluster. What needs Ray (the extra `cluster`) is skipped without it."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest

from edgecomp.common.errors import ClusterUnusable, JobTooLarge
from edgecomp.common.events import Event, ignore
from edgecomp.jobs import fleet_cluster
from edgecomp.jobs.fleet_cluster import longest_first, make_on_cluster, processors_asked
from edgecomp.jobs.fleet_plan import plan_fleet
from edgecomp.jobs.fleet_run import resume_fleet, run_fleet
from edgecomp.recipes.fleet import FleetRequest

NODE_BYTES = 4 * 2**30
BEGUN_SECONDS = 120


def request(*models: Path) -> FleetRequest:
    return FleetRequest.model_validate(
        {
            "models": [str(path) for path in models],
            "devices": ["office-laptop-ddr4", "pixel-9"],
            "limits": {"context": 256},
            "tolerated_nats": {"general": 1e3},
            "evaluation": {"items": 1, "budget_seconds": None, "windows": 2, "window_tokens": 64},
        }
    )


def test_without_ray_an_address_is_refused_with_the_cure(
    tiny_model: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ClusterUnusable, match=r"edgecomp\[cluster\]"):
        run_fleet(request(tiny_model("llama")), tmp_path / "fleet", None, ignore, "auto")
    assert not (tmp_path / "fleet").exists()


def test_what_takes_longest_is_handed_over_first(tiny_model: Callable[..., Path]) -> None:
    (short,) = plan_fleet(request(tiny_model("llama"))).artifacts
    stages = (*short.job.stages, short.job.stages[0].model_copy(update={"seconds": 1e6}))
    job = short.job.model_copy(update={"stages": stages})
    long = short.model_copy(update={"name": "long", "job": job})
    assert [row.name for row in longest_first([short, long])] == ["long", short.name]
    assert processors_asked([8.0, 4.0, 16.0]) == 4.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Two workers of one processor each, on this machine."""
    pytest.importorskip("ray", reason="the extra cluster is not installed")
    from ray.cluster_utils import Cluster

    own = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        own.add_node(num_cpus=1, memory=NODE_BYTES, object_store_memory=10**8)
    own.wait_for_nodes()
    yield own
    own.shutdown()


@pytest.mark.slow
def test_two_workers_make_a_fleet_though_one_is_killed(
    cluster: Any, tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tmp_path / "fleet"
    wanted = request(tiny_model("llama"), tiny_model("qwen2"))
    killed: list[int] = []
    killer = threading.Thread(target=lambda: killed.extend(kill_a_worker()), daemon=True)
    killer.start()
    said: list[Event] = []
    status = run_fleet(wanted, folder, None, said.append, cluster.address)
    killer.join()
    assert killed and not psutil.pid_exists(killed[0])
    assert [row.state for row in status.artifacts] == ["done", "done"]
    assert status.release and len(status.release.devices) == 4
    assert any("2 artifacts on 2 nodes" in getattr(event, "text", "") for event in said)
    # Nothing is left to do, on whatever cluster.
    assert resume_fleet(folder, ignore, "nowhere:1").release == status.release


def kill_a_worker() -> list[int]:
    """Kill the first process in which a task of the fleet is at work."""
    deadline = time.monotonic() + BEGUN_SECONDS
    while time.monotonic() < deadline:
        for process in psutil.process_iter(["cmdline"]):
            words = " ".join(process.info["cmdline"] or ())
            if words.startswith("ray::") and "-BF16" in words:
                time.sleep(3)
                os.kill(process.pid, signal.SIGKILL)
                return [process.pid]
        time.sleep(0.2)
    return []


@pytest.mark.slow
def test_what_no_node_can_do_is_told_at_once(
    cluster: Any,
    tiny_model: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (artifact,) = plan_fleet(request(tiny_model("llama"))).artifacts
    (stage, *others) = artifact.job.stages
    larger = stage.model_copy(update={"peak_memory_bytes": 2 * NODE_BYTES})
    job = artifact.job.model_copy(update={"stages": (larger, *others)})
    huge = artifact.model_copy(update={"job": job})
    with pytest.raises(JobTooLarge, match="no node of the cluster"):
        list(make_on_cluster(cluster.address, tmp_path, [huge], None, ignore))
    monkeypatch.setattr(fleet_cluster, "__version__", "9.9.9")
    with pytest.raises(ClusterUnusable, match=r"9\.9\.9"):
        list(make_on_cluster(cluster.address, tmp_path, [artifact], None, ignore))


def test_a_cluster_that_cannot_be_reached_is_told(
    tiny_model: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", ModuleType("ray"))
    (artifact,) = plan_fleet(request(tiny_model("llama"))).artifacts
    for address in ("127.0.0.1:9", "ray://127.0.0.1:9", "127.0.0.1:nine"):
        with pytest.raises(ClusterUnusable, match=address):
            list(make_on_cluster(address, tmp_path, [artifact], None, ignore))
