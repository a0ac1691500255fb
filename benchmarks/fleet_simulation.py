"""How busy a cluster of 64 nodes is kept by 500 artifacts of a fleet, by simulation, in one table.

    python benchmarks/fleet_simulation.py

A discrete event simulation of what jobs/fleet_cluster.py has Ray do: every artifact is a task that
asks for the processors of the smallest node and for the memory of its plan; a task begins on the
first node with room for it, in the order in which tasks were handed over; the product's own
functions say what is asked and in which order. Durations are drawn, stage by stage, from SECONDS:
what the stages of real runs took. The plan knows the median of each stage alone.
"""

from __future__ import annotations

import heapq
import random
import statistics
from collections.abc import Callable, Sequence
from typing import NamedTuple

from edgecomp.jobs.fleet_cluster import processors_asked

NODES, JOBS, SEEDS = 64, 500, 20
GOAL_PERCENT = 90

SECONDS = {
    "SmolLM2-135M": {
        "intake": (1.3, 1.3, 1.8),
        "checkpoint": (6.0, 6.1, 9.0),
        "check-base": (10.8, 12.1, 39.7),
        "calibration": (1.0, 1.8, 2.5),
        "sensitivities": (63.4, 466.9, 906.0),
        "rounding": (131.8, 344.5, 913.5),
        "compression": (3.4, 5.9, 7.5, 7.9, 11.5, 12.9, 13.1, 15.7, 21.1),
        "check": (2.2, 2.3, 2.5, 2.6, 2.8, 2.8, 3.0, 3.0, 3.3),
        "divergence": (7.5, 7.5, 7.8, 7.8, 8.0, 8.0, 8.4, 21.1, 38.1),
        "coherence": (6.1,),
        "divergence-by-capability": (11.2,),
        "asking": (616.0,),
        "measurement": (54.4, 56.0),
    },
    "Gemma-3-270M": {
        "intake": (3.4, 3.4),
        "checkpoint": (13.9, 14.1),
        "check-base": (15.4, 88.1),
        "calibration": (0.9, 1.1),
        "sensitivities": (95.2, 224.1),
        "rounding": (114.7, 126.9, 172.1),
        "compression": (17.8, 17.9, 18.0, 19.3, 20.6, 21.6, 24.6, 30.0, 36.1, 37.7),
        "check": (4.9, 5.1, 5.3, 5.3, 5.3, 5.5, 5.7, 5.7, 6.2, 6.3),
        "divergence": (14.7, 15.1, 15.4, 15.5, 16.8, 33.4, 34.5, 39.6, 60.8, 108.1),
        "coherence": (23.1,),
        "divergence-by-capability": (125.9,),
        "asking": (616.0,),
        "measurement": (54.4, 56.0),
    },
}
"""What each stage took in runs of `edgecomp fit`, `audit` and of the benchmarks here on 27 and 28
November 2026, from the times of their records and results in the cache: one or two cores of an AMD
EPYC, some beside other work, which is where the wide ones come from. Asking and measuring were
timed on one file of the second model; both are nearly the same for any, by the budget."""

PEAK_BYTES = {"SmolLM2-135M": 850_000_000, "Gemma-3-270M": 2_200_000_000}
"""What the plans of these models ask for."""


class Node(NamedTuple):
    """What a node offers."""

    processors: int
    memory_bytes: int


class Job(NamedTuple):
    """One artifact: what it takes, what its plan says, and what it asks for."""

    seconds: float
    planned_seconds: float
    guessed_seconds: float
    memory_bytes: int


CLUSTERS: dict[str, list[Node]] = {
    "64 nodes of 4 processors": [Node(4, 16 * 10**9)] * NODES,
    "48 of 4 and 16 of 8 processors": [Node(4, 8 * 10**9)] * 48 + [Node(8, 32 * 10**9)] * 16,
}

Order = Callable[[Sequence[Job]], list[Job]]
ORDERS: dict[str, Order] = {
    "as listed": list,
    "shortest first": lambda jobs: sorted(jobs, key=lambda job: job.seconds),
    "longest first, the plan knows the model": lambda jobs: sorted(
        jobs, key=lambda job: -job.planned_seconds
    ),
    "longest first, the plan off by 2 x": lambda jobs: sorted(
        jobs, key=lambda job: -job.guessed_seconds
    ),
    "longest first, the plan right": lambda jobs: sorted(jobs, key=lambda job: -job.seconds),
}


def drawn_jobs(seed: int) -> list[Job]:
    """Artifacts model by model, as a fleet's plan lists them."""
    chance = random.Random(seed)
    jobs = []
    for model, stages in SECONDS.items():
        planned = sum(statistics.median(found) for found in stages.values())
        for _ in range(JOBS // len(SECONDS)):
            seconds = sum(chance.choice(found) for found in stages.values())
            guessed = seconds * 2 ** chance.uniform(-1, 1)
            jobs.append(Job(seconds, planned, guessed, PEAK_BYTES[model]))
    return jobs


def makespan(jobs: Sequence[Job], nodes: Sequence[Node]) -> float:
    """When the last of `jobs`, handed over in this order, ends."""
    asked = processors_asked([node.processors for node in nodes])
    free = [list(node) for node in nodes]
    running: list[tuple[float, int, int]] = []
    waiting, now = list(jobs), 0.0
    while waiting or running:
        left = []
        for job in waiting:
            at = _room(free, asked, job.memory_bytes)
            if at is None:
                left.append(job)
                continue
            free[at][0] -= asked
            free[at][1] -= job.memory_bytes
            heapq.heappush(running, (now + job.seconds, at, job.memory_bytes))
        waiting = left
        now, at, memory = heapq.heappop(running)
        free[at][0] += asked
        free[at][1] += memory
    return now


def _room(free: Sequence[Sequence[float]], processors: float, memory_bytes: int) -> int | None:
    """The first node with room."""
    for at, (left, memory) in enumerate(free):
        if left >= processors and memory >= memory_bytes:
            return at
    return None


def lower_bound(jobs: Sequence[Job], nodes: Sequence[Node]) -> float:
    """No order ends sooner: all places busy to the end, or the longest artifact by itself."""
    asked = processors_asked([node.processors for node in nodes])
    places = sum(int(node.processors // asked) for node in nodes)
    return max(sum(job.seconds for job in jobs) / places, max(job.seconds for job in jobs))


def row(name: str, order: Order, nodes: Sequence[Node]) -> str:
    """Medians over the seeds, and the worst of them."""
    spans, bounds, busy = [], [], []
    asked = processors_asked([node.processors for node in nodes])
    processors = sum(node.processors for node in nodes)
    for seed in range(SEEDS):
        jobs = drawn_jobs(seed)
        span = makespan(order(jobs), nodes)
        spans.append(span)
        bounds.append(lower_bound(jobs, nodes))
        busy.append(100 * asked * sum(job.seconds for job in jobs) / (processors * span))
    ratio = statistics.median(s / b for s, b in zip(spans, bounds, strict=True))
    return (
        f"| {name} | {statistics.median(busy):.1f} | {min(busy):.1f} | "
        f"{statistics.median(spans) / 60:.0f} | {statistics.median(bounds) / 60:.0f} | "
        f"{ratio:.3f} |"
    )


def main() -> None:
    jobs = drawn_jobs(0)
    lengths = sorted(job.seconds for job in jobs)
    print(
        f"{len(jobs)} artifacts of {lengths[0] / 60:.0f} to {lengths[-1] / 60:.0f} min, median "
        f"{statistics.median(lengths) / 60:.0f} min; {SEEDS} seeds; goal: over {GOAL_PERCENT} %"
    )
    print("| cluster, order | busy % | worst seed | makespan min | lower bound min | ratio |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for cluster, nodes in CLUSTERS.items():
        for name, order in ORDERS.items():
            print(row(f"{cluster}, {name}", order, nodes), flush=True)


if __name__ == "__main__":
    main()
