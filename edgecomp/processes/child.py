"""A worker process that runs native code on behalf of this one.

A crash, an out-of-memory kill or a hang in a native library ends the worker, never the caller: it
becomes an error that carries the end of the worker's log. Requests and answers are lines of JSON
over pipes; whatever native code prints goes to the log. The worker ends itself when its standard
input closes, so it does not outlive a caller that was killed.

Silence is not death: one step of a large model may take an hour without a word. A worker is ended
as hung only when, all the while it was silent, it also used no processor and read or wrote nothing.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from edgecomp.common.errors import (
    ChildDied,
    ChildHung,
    ChildKilledByMemory,
    EdgecompError,
    error_from_worker,
)
from edgecomp.common.events import Progress, ignore_progress
from edgecomp.processes.limits import Death, MemoryCap, MemoryLimitReached, apply, enforced_limits
from edgecomp.processes.work_done import LEAST_WORK_SHARE, work_done

LONGEST_SILENCE_SECONDS = 600.0
LOG_TAIL_LINES = 8

NEXT_STEP = "`edgecomp doctor` shows which native libraries work on this machine, and cures."

BRIEF_WAITS = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "20000"}
"""Native threads look for one another for some microseconds, then sleep: small steps follow at once
on an idle machine, and on a busy one nobody is kept from working."""


class Child:
    """A running worker, `python -m MODULE`; use it as a context manager.

    OpenMP's threads by default spin while they wait for one another, which is quickest on an idle
    machine and many times slower beside any other work. They soon sleep, unless `spin` asks for
    the default: where speed is what is measured.
    """

    def __init__(
        self,
        module: str,
        log: Path | None = None,
        *,
        spin: bool = False,
        inherit: tuple[int, ...] = (),
    ) -> None:
        """Start it. `log`: the file for what it prints (None: a temporary one); `inherit`: open
        descriptors that the worker has as well."""
        self.module = module
        self._log = (
            tempfile.NamedTemporaryFile(  # noqa: SIM115 - lives as long as the worker
                mode="w+b", prefix="edgecomp-", suffix=".log", delete=log is None
            )
            if log is None
            else log.open("w+b")
        )
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=os.environ if spin else {**BRIEF_WAITS, **os.environ},
            pass_fds=inherit,
            start_new_session=True,  # Ctrl-C reaches the caller alone, which ends the worker.
            text=True,
            encoding="utf-8",
        )
        self._began = time.perf_counter()
        self._progressed = False
        try:
            self._cap = apply(self._process.pid, self._kill)
        except OSError:
            self._kill()
            raise
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def process_id(self) -> int:
        return self._process.pid

    def call(
        self,
        request: str,
        /,
        progress: Progress = ignore_progress,
        longest_silence_seconds: float = LONGEST_SILENCE_SECONDS,
        **arguments: Any,
    ) -> Any:
        """Have the worker carry out `request` and return its answer (JSON values).

        Raises the EdgecompError that the worker answers with; ChildKilledByMemory or ChildDied
        where it ends without an answer; ChildHung where it neither said nor did anything for
        `longest_silence_seconds`.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(
                json.dumps({"request": request, "arguments": arguments}) + "\n"
            )
            self._process.stdin.flush()
        except (BrokenPipeError, OSError) as error:
            raise self._death(request) from error
        done = work_done(self._process.pid)
        while True:
            try:
                line = self._lines.get(timeout=longest_silence_seconds)
            except queue.Empty:
                before, done = done, work_done(self._process.pid)
                if done.since(before) >= LEAST_WORK_SHARE * longest_silence_seconds:
                    continue
                self._kill()
                raise ChildHung(
                    f"{self.module} gave no sign of life for {longest_silence_seconds:.0f} s "
                    f"during {request!r}: it used no processor and read and wrote nothing. It was "
                    f"ended. {NEXT_STEP}{self._tail()}"
                ) from None
            if line is None:
                raise self._death(request)
            message = json.loads(line)
            if "progress" in message:
                self._progressed = True
                progress(*message["progress"])
            elif "error" in message:
                raise error_from_worker(message["error"], message["text"])
            else:
                return message["answer"]

    def log_text(self) -> str:
        """What the worker and its native code have printed so far."""
        return Path(self._log.name).read_text(encoding="utf-8", errors="replace")

    def close(self) -> None:
        """End the worker."""
        if self._process.poll() is None:
            self._kill()
        self._process.wait()
        if self._cap:
            self._cap.close()
        self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def _kill(self) -> None:
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            self._process.kill()

    def _tail(self) -> str:
        lines = [line for line in self.log_text().splitlines() if line.strip()]
        return "\nThe end of its log:\n  " + "\n  ".join(lines[-LOG_TAIL_LINES:]) if lines else ""

    def _death(self, request: str) -> ChildDied:
        code = self._process.wait()
        if code == -signal.SIGKILL and self._cap and self._cap.reached():
            return self._limit_reached(self._cap)
        if code == -signal.SIGKILL:
            return ChildKilledByMemory(
                f"{self.module} was killed during {request!r}, most likely because memory ran out. "
                "Close other programs, or choose a smaller format or context." + self._tail()
            )
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        advice = f" {NEXT_STEP}" if code < 0 else ""
        return ChildDied(f"{self.module} died during {request!r} ({name}).{advice}{self._tail()}")

    def _limit_reached(self, cap: MemoryCap) -> MemoryLimitReached:
        limits = enforced_limits()
        assert limits and limits.memory_bytes and limits.memory_kept_by
        death = Death(
            stage="running" if self._progressed else "loading",
            seconds=time.perf_counter() - self._began,
            peak_bytes=cap.peak_bytes(),
            limit_bytes=limits.memory_bytes,
            kept_by=limits.memory_kept_by,
        )
        return MemoryLimitReached(death, f"The worker ({self.module}) {death}")


Handler = Callable[..., Any]


def serve(handlers: dict[str, Handler]) -> None:
    """Answer requests from standard input until it closes: the worker's main loop.

    A handler takes the request's arguments and, as `progress`, a function to report with; what it
    returns is the answer. An EdgecompError it raises goes back as what it is; any other exception
    is a bug and ends the worker with its traceback in the log.
    """
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    requests: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()

    def answer(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    def progress(done: float, total: float) -> None:
        answer({"progress": [done, total]})

    while True:
        message = json.loads(requests.get())
        try:
            result = handlers[message["request"]](progress=progress, **message["arguments"])
        except EdgecompError as error:
            answer({"error": type(error).__name__, "text": str(error)})
        else:
            answer({"answer": result})


def _listen(requests: queue.Queue[str]) -> None:
    for line in sys.stdin:
        requests.put(line)
    # The caller is gone; native code may be deep in a long call, so no orderly exit is waited for.
    os._exit(0)
