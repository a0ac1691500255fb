"""How long the plans of five models for every device profile take, in one table.

    python benchmarks/devices.py

Times `edgecomp devices compare` as a user runs it, from the start of the process to its end. The
models are the header-only shapes of the tests, written anew.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "tests"))

from shapes import SHAPES, write_headers

from edgecomp.devices.profile import profile_paths

RUNS = 9


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = [str(Path(sys.executable).parent / "edgecomp"), "devices", "compare"]
        for name, config in SHAPES.items():
            model = Path(folder, name)
            model.mkdir()
            write_headers(model, config)
            command += ["--model", str(model)]
        environment = os.environ | {"EDGECOMP_CONFIG": f"{folder}/config"}
        seconds = []
        for _ in range(RUNS):
            began = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True, env=environment)
            seconds.append(time.perf_counter() - began)
    print(
        f"{len(profile_paths())} devices x {len(SHAPES)} models: {statistics.median(seconds):.2f} s"
        f" ({min(seconds):.2f} to {max(seconds):.2f}, n={RUNS}); goal: under 2 s"
    )


if __name__ == "__main__":
    main()
