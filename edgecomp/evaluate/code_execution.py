"""Run a program that a model wrote, in a process that can compute and nothing else.

`code_sandbox` says how the program is kept from the tests, `system_calls` what it may ask of the
kernel. It runs as Python in isolated mode in an empty folder, with limits on memory, processor time
and open files. Nothing that it prints is kept. Linux on x86-64 and arm64 only; elsewhere code is
refused, not run without the sandbox.
"""

from __future__ import annotations

import base64
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Literal

from edgecomp.common.errors import CodeNotAllowed
from edgecomp.evaluate.system_calls import filters

MEMORY_BYTES = 1 << 30
PROCESSOR_SECONDS = 10
WALL_SECONDS = 20.0
REPORT_BYTES = 200
SANDBOX = Path(__file__).with_name("code_sandbox.py")

Outcome = Literal["passed", "failed", "out of time"]


def run_tests(program: str, *, prompt: str, test: str, entry_point: str) -> Outcome:
    """Run `test`, which defines `check(candidate)`, on the function `entry_point` of `program`.

    `prompt` is the start of the program as the benchmark gives it: the tests take from it what they
    use besides the function. Raises CodeNotAllowed where this machine offers no sandbox.
    """
    machine = platform.machine()
    if not sys.platform.startswith("linux") or machine not in ("x86_64", "aarch64"):
        raise CodeNotAllowed(
            f"Generated code is not run on {sys.platform} {machine}: the sandbox needs Linux on "
            "x86-64 or arm64. Leave the code benchmarks out, or evaluate in a Linux container."
        )
    reading, computing = (base64.b64encode(each).decode() for each in filters())
    limited = {
        "source": program,
        "entry_point": entry_point,
        "reading": reading,
        "computing": computing,
        "memory_bytes": MEMORY_BYTES,
        "processor_seconds": PROCESSOR_SECONDS,
    }
    tests = {"prompt": prompt, "test": test}
    report, in_time = _report(f"{json.dumps(limited)}\n{json.dumps(tests)}".encode())
    if report.startswith("refused"):
        raise CodeNotAllowed(
            f"Generated code is not run: the kernel refused the sandbox ({report}). Leave the code "
            "benchmarks out, or evaluate on another machine."
        )
    if report == "passed":
        return "passed"
    return "failed" if in_time and report != "out of time" else "out of time"


def _report(request: bytes) -> tuple[str, bool]:
    """What the sandbox says of `request`, and whether it said it in time."""
    late = threading.Event()
    with (
        tempfile.TemporaryDirectory(prefix="edgecomp-code-") as folder,
        subprocess.Popen(
            [sys.executable, "-I", "-S", str(SANDBOX)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env={},
            start_new_session=True,
        ) as sandbox,
    ):
        assert sandbox.stdin is not None and sandbox.stdout is not None

        def end() -> None:
            with suppress(ProcessLookupError):
                os.killpg(sandbox.pid, signal.SIGKILL)

        def stop() -> None:
            late.set()
            end()

        clock = threading.Timer(WALL_SECONDS, stop)
        clock.start()
        try:
            with suppress(BrokenPipeError):
                sandbox.stdin.write(request)
            with suppress(BrokenPipeError):
                sandbox.stdin.close()
            report = sandbox.stdout.read(REPORT_BYTES).decode(errors="replace")
        finally:
            clock.cancel()
            # Before it is waited for: its number still names it and what it forked.
            end()
        return report, not late.is_set()
