"""How long the plan of a large fleet takes, and how many artifacts serve it, in one table.

    python benchmarks/fleets.py

Twenty models, header-only like the shapes of the tests and of four widths each, on thirty-five
profiles for six tasks: 4,200 demands. Each row is another set of limits. Beside other work the
seconds of the processor tell what an idle machine would take.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "tests"))

from shapes import SHAPES, write_headers

from edgecomp.common.tasks import TASKS
from edgecomp.devices.profile import profile_paths
from edgecomp.jobs.fleet_plan import plan_fleet
from edgecomp.recipes.fleet import FleetRequest

MODELS, DEVICES = 20, 35
SHALLOWER = (1.0, 0.75, 0.5, 0.25)
"""Shares of a shape's layers that the models have."""

LIMITS = ({}, {"max_size": "4GB"}, {"max_memory": "6GB", "min_speed": 5})


def write_models(folder: Path) -> list[str]:
    """Folders of header-only models, each of a name of its own."""
    made = []
    for share in SHALLOWER:
        for name, shape in SHAPES.items():
            layers = round(share * shape["num_hidden_layers"])
            place = folder / f"{name}-{layers}-layers"
            place.mkdir()
            write_headers(place, {**shape, "num_hidden_layers": layers})
            made.append(str(place))
    return made[:MODELS]


def main() -> None:
    devices = list(profile_paths())[:DEVICES]
    print(f"{MODELS} models x {len(devices)} devices x 6 tasks")
    print("| limits | processor seconds | seconds | demands | served | artifacts |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder:
        models = write_models(Path(folder))
        for limits in LIMITS:
            entries = {"models": models, "devices": devices, "tasks": TASKS[1:], "limits": limits}
            began, busy = time.perf_counter(), time.process_time()
            plan = plan_fleet(FleetRequest.model_validate(entries))
            seconds, busy = time.perf_counter() - began, time.process_time() - busy
            said = ", ".join(f"{name} {value}" for name, value in limits.items()) or "none"
            demands = len(plan.served) + len(plan.unserved)
            print(
                f"| {said} | {busy:.1f} | {seconds:.1f} | {demands} | {len(plan.served)} | "
                f"{len(plan.artifacts)} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
