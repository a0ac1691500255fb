"""The artifacts of a fleet as tasks of a Ray cluster (the extra `cluster`).

A task asks the scheduler for the memory that the plan expects its artifact to need, and for as many
processors as the smallest node has: a speed that is measured beside other work is none. Those that
are planned to take longest are handed over first. The fleet's folder, the models and the data must
be reachable by the same paths on every node. A node that dies costs its task, which Ray begins anew
elsewhere; a cache in a shared folder (EDGECOMP_CACHE) lets it go on there.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from edgecomp import __version__
from edgecomp.common.errors import ClusterUnusable, JobTooLarge
from edgecomp.common.events import Listener, Noted, Warned, ignore
from edgecomp.common.quantity import format_size
from edgecomp.jobs.fleet_artifact import ArtifactState, make_fleet_artifact
from edgecomp.jobs.fleet_plan import PlannedArtifact

LOCAL = "local"
"""The address of a cluster that is this machine alone, begun for the run."""

PASSED_ON = ("EDGECOMP_CACHE", "EDGECOMP_CONFIG")
"""Not EDGECOMP_RESULTS: SQLite's log wants a disk of the node's own. The driver keeps all results
too."""

RETRIES = 3
REACHED_SECONDS = 10.0


def make_on_cluster(
    address: str, folder: Path, artifacts: Sequence[PlannedArtifact], data: Path | None,
    listen: Listener,
) -> Iterator[ArtifactState]:  # fmt: skip
    """Make artifacts on the cluster at `address`, and yield what became of each as it ends.

    Raises ClusterUnusable where there is no Ray, no cluster, or a node without this version of
    edgecomp, and JobTooLarge where no node has the memory for one of them.
    """
    require_cluster(address)
    ray = _ray()
    _connect(ray, address)
    try:
        nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
        _require_own_version(ray, nodes)
        _require_memory(nodes, artifacts)
        processors = processors_asked([node["Resources"]["CPU"] for node in nodes])
        listen(Noted(text=f"{len(artifacts)} artifacts on {len(nodes)} nodes of the cluster."))
        task = ray.remote(max_retries=RETRIES)(make_fleet_artifact)
        waiting = {
            task.options(
                num_cpus=processors, memory=row.job.peak_memory_bytes, name=row.name
            ).remote(folder, row, data, ignore): row
            for row in longest_first(artifacts)
        }
        while waiting:
            (ended,), _ = ray.wait(list(waiting), num_returns=1)
            state = _outcome(ray, ended, waiting.pop(ended))
            listen((Noted if state.state == "done" else Warned)(text=f"{state.name}: {state.text}"))
            yield state
    finally:
        ray.shutdown()


def processors_asked(offered: Sequence[float]) -> float:
    """What each artifact asks for: all that the smallest of the nodes offers."""
    return min(offered)


def longest_first(artifacts: Sequence[PlannedArtifact]) -> list[PlannedArtifact]:
    """The order in which artifacts are handed over: a long one that begins last would keep a node
    busy while all others wait (Graham, Bounds on Multiprocessing Timing Anomalies, 1969)."""
    return sorted(artifacts, key=lambda row: -row.job.seconds)


def require_cluster(address: str) -> None:
    """Raise ClusterUnusable where Ray is not installed, or nothing listens at an address with a
    port; Ray itself would try for minutes."""
    _ray()
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon:
        return
    try:
        socket.create_connection((host, int(port)), REACHED_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise _unreachable(address, error) from error


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise ClusterUnusable(
            "Ray is not installed, which --address needs. Install it with: pip install "
            "'edgecomp[cluster]'. Without --address the fleet is made on this machine, one "
            "artifact after the other."
        ) from error
    return ray


def _connect(ray: Any, address: str) -> None:
    variables = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    try:
        ray.init(
            address=None if address == LOCAL else address,
            runtime_env={"env_vars": variables},
            include_dashboard=False if address == LOCAL else None,
            log_to_driver=False,
            logging_level="ERROR",
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise _unreachable(address, error) from error


def _unreachable(address: str, error: Exception) -> ClusterUnusable:
    first = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
    return ClusterUnusable(
        f"No Ray cluster was reached at {address}: {first}. Start one with `ray start --head`, see "
        "that its version of Ray and Python is this one, or leave --address out."
    )


def installed_version() -> str:
    """The edgecomp of the node that runs this."""
    return __version__


def _require_own_version(ray: Any, nodes: Sequence[dict[str, Any]]) -> None:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ask = ray.remote(num_cpus=0, max_retries=0)(installed_version)
    for node in nodes:
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        try:
            version = ray.get(ask.options(scheduling_strategy=there).remote())
        except ray.exceptions.RayError as error:
            raise ClusterUnusable(
                f"The node {node['NodeManagerHostname']} cannot run edgecomp {__version__}. "
                f"Install it there: pip install 'edgecomp[cluster]=={__version__}'"
            ) from error
        if version != __version__:
            raise ClusterUnusable(
                f"The node {node['NodeManagerHostname']} has edgecomp {version}, and here is "
                f"{__version__}: their artifacts could differ. Install the same on both."
            )


def _require_memory(nodes: Sequence[dict[str, Any]], artifacts: Sequence[PlannedArtifact]) -> None:
    """Refuse what the scheduler would wait for without end."""
    most = max(node["Resources"].get("memory", 0) for node in nodes)
    for row in artifacts:
        if row.job.peak_memory_bytes > most:
            raise JobTooLarge(
                f"{row.name} needs about {format_size(row.job.peak_memory_bytes)} to be made, and "
                f"no node of the cluster offers more than {format_size(most)}."
            )


def _outcome(ray: Any, ended: Any, planned: PlannedArtifact) -> ArtifactState:
    try:
        state: ArtifactState = ray.get(ended)
        return state
    except ray.exceptions.RayError as error:
        first = str(error).strip().splitlines()[0]
        text = f"Its task was lost {RETRIES + 1} times: {first}"
        return ArtifactState(name=planned.name, state="failed", text=text)
