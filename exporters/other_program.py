"""Programs of other projects, run in processes of their own with a path of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from edgecomp.common.errors import ChildHung, ChildKilledByMemory
from edgecomp.processes.child import LONGEST_SILENCE_SECONDS
from edgecomp.processes.work_done import wait_while_working

OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


class Ended(NamedTuple):
    """How a program ended: its exit code, and the lines it wrote that say something."""

    code: int
    lines: list[str]


def run_program(
    python: Path | str,
    program: Path,
    wanted: Mapping[str, Any],
    *,
    doing: str,
    instead: str,
    environment: Mapping[str, str] | None = None,
) -> Ended:
    """Run `program` with `wanted` as JSON, offline, until it ends.

    `doing` and `instead` complete the errors' sentences: what it was at ("Optimum exported X") and
    what else one can do. Raises ChildHung where it does nothing, ChildKilledByMemory.
    """
    # -P: the program's folder holds modules called `onnx` and `huggingface`, which are not meant.
    command = [str(python), "-P", str(program), json.dumps(wanted)]
    with tempfile.TemporaryFile("w+", errors="replace") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, text=True,
            env={**os.environ, **OFFLINE, **(environment or {})},
        )  # fmt: skip
        try:
            ended = wait_while_working(process, LONGEST_SILENCE_SECONDS)
        finally:
            process.kill()
            process.wait()
        log.seek(0)
        lines = [line for line in log.read().splitlines() if line.strip()]
    if not ended:
        raise ChildHung(
            f"{doing} and did nothing for {LONGEST_SILENCE_SECONDS:.0f} s, and was ended. Run the "
            f"same command again, or {instead}."
        )
    if process.returncode == -signal.SIGKILL:
        raise ChildKilledByMemory(
            f"{doing} and was killed, most likely because memory ran out. Close other programs, "
            f"or {instead}."
        )
    return Ended(process.returncode, lines)
