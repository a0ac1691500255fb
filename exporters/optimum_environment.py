"""Where the Python is that has optimum: an environment of its own.

optimum-onnx needs transformers 4, edgecomp needs 5, so they cannot share one. `make optimum` sets
the other one up beside this one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from edgecomp.common.errors import RuntimeMissing

VARIABLE = "EDGECOMP_OPTIMUM_PYTHON"
FOLDER = ".venv-optimum"
LONGEST_SECONDS = 60


def optimum_python() -> Path:
    """The Python to run optimum with: the one that EDGECOMP_OPTIMUM_PYTHON names, or that of the
    environment `.venv-optimum` beside this one or in the working directory.

    Raises RuntimeMissing, saying how to make the environment.
    """
    named = os.environ.get(VARIABLE)
    places = [Path(sys.prefix).parent / FOLDER, Path.cwd() / FOLDER]
    candidates = [Path(named)] if named else [place / "bin" / "python" for place in places]
    python = next((path for path in candidates if path.is_file()), None)
    if python is None:
        missing = f"{VARIABLE} names {named}, which is not there" if named else "there is none here"
        raise RuntimeMissing(
            f"Exports by optimum need an environment of their own, and {missing}. Make it with "
            f"`make optimum` in edgecomp's repository, or install requirements-optimum.lock into "
            f"a new one and name its Python in {VARIABLE}."
        )
    _require_optimum(python)
    return python


def _require_optimum(python: Path) -> None:
    command = [str(python), "-c", "import importlib.metadata as m; m.version('optimum-onnx')"]
    try:
        found = subprocess.run(command, capture_output=True, timeout=LONGEST_SECONDS).returncode
    except (OSError, subprocess.TimeoutExpired):
        found = 1
    if found:
        raise RuntimeMissing(
            f"{python} has no optimum-onnx. Install requirements-optimum.lock there, or name "
            f"another Python in {VARIABLE}."
        )
