"""A fit in a process of its own: anyone may watch it, and only who started it may stop it.

Each request has a folder in the cache: `request.json`, `events.jsonl` (which start it was, then an
Event a line), `log.txt` (what native code printed), `outcome.json` once it ended, and a lock. Who
starts a run takes the lock before it touches anything there, and hands it to the worker, which
holds it while it lives. A watcher only reads these files, so a second app sees the same run. The
worker ends when its starter does; the stage cache lets the next start of the same request go on
from there.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple
from uuid import uuid4

from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError

from edgecomp.common.atomic import write_text
from edgecomp.common.errors import EdgecompError, RunBusy
from edgecomp.common.events import Event, StageProgress
from edgecomp.common.folders import RUNS, cache_folder
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.processes.child import Child, serve
from edgecomp.recipes.recipe import Recipe

MODULE = "edgecomp.jobs.background"
REQUEST, EVENTS, LOG, OUTCOME, OWNER, LOCK = (
    "request.json", "events.jsonl", "log.txt", "outcome.json", "owner", ".lock",
)  # fmt: skip
NICENESS = 15
"""Whoever watches keeps the upper hand over a run that uses every core."""

PROGRESS_SECONDS = 0.1
"""At most one progress event of a stage is written in this time."""

LOCK_SECONDS = 2.0
STOP_SECONDS = 5.0
SILENCE_SECONDS = 7 * 24 * 3600.0
"""The run's own workers have limits of their own."""

EVENT: TypeAdapter[Event] = TypeAdapter(Event)


class FitRequest(FrozenModel):
    """A recipe to carry out, the data it is judged with, and the bundle's place."""

    schema_version: Literal[1] = 1
    recipe: Recipe
    data: Path | None = None
    output: Path


class Outcome(FrozenModel):
    """How a run ended: with a bundle, or with an error's class and its text."""

    schema_version: Literal[1] = 1
    folder: Path | None
    error: str | None = None
    text: str = ""

    @property
    def crashed(self) -> bool:
        """True where the worker died instead of explaining itself; its log tells more."""
        return self.error is not None and self.error.startswith("Child")


def run_folder(request: FitRequest) -> Path:
    """Where everything about this request is kept."""
    digest = hashlib.sha256(request.model_dump_json().encode()).hexdigest()[:16]
    return cache_folder() / RUNS / digest


def is_running(folder: Path) -> bool:
    """Whether some process is working on the run right now."""
    if not (folder / LOCK).is_file():
        return False
    try:
        with FileLock(folder / LOCK, timeout=0):
            return False
    except Timeout:
        return True


def owner(folder: Path) -> int | None:
    """The process that works, or last worked, on the run."""
    path = folder / OWNER
    text = path.read_text() if path.is_file() else ""
    return int(text) if text.isdigit() else None


class EventsPosition(NamedTuple):
    """How far a watcher has read: of which start, and up to which byte of its file."""

    start: bytes
    offset: int


UNREAD = EventsPosition(b"", 0)


def read_events(
    folder: Path, position: EventsPosition = UNREAD
) -> tuple[list[Event], EventsPosition]:
    """The events after `position` of the run's file, and the position to go on from. Where the run
    was started again, all events of that start."""
    try:
        with (folder / EVENTS).open("rb") as file:
            start = file.readline()
            offset = position.offset if start == position.start else file.tell()
            file.seek(offset)
            data = file.read()
    except FileNotFoundError:
        return [], UNREAD
    whole = data[: data.rfind(b"\n") + 1]
    events = [EVENT.validate_json(line) for line in whole.splitlines()]
    return events, EventsPosition(start, offset + len(whole))


def read_outcome(folder: Path) -> Outcome | None:
    """How the run ended; None where it goes on or was stopped."""
    path = folder / OUTCOME
    try:
        return Outcome.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        return None


class BackgroundFit:
    """A fit that this process started and may stop."""

    def __init__(self, request: FitRequest) -> None:
        """Start the worker. Raises RunBusy where another process works on the same request."""
        self.request = request
        self.folder = run_folder(request)
        self.stopped = False
        lock = _take_lock(self.folder)
        try:
            (self.folder / OUTCOME).unlink(missing_ok=True)
            write_text(self.folder / EVENTS, json.dumps({"start": uuid4().hex}) + "\n")
            write_text(self.folder / REQUEST, request.model_dump_json(indent=1))
            # Its own workers choose how their threads wait; what is set here they would inherit.
            self._child = Child(MODULE, log=self.folder / LOG, spin=True, inherit=(lock,))
            (self.folder / OWNER).write_text(str(self._child.process_id))
        finally:
            os.close(lock)  # The worker has it now.

    @property
    def process_id(self) -> int:
        return self._child.process_id

    def wait(self) -> Outcome | None:
        """Block until the run ends; None where it was stopped, to be resumed later."""
        try:
            answer = self._child.call(
                "fit",
                longest_silence_seconds=SILENCE_SECONDS,
                request=self.request.model_dump(mode="json"),
            )
            outcome = Outcome.model_validate(answer)
        except EdgecompError as error:
            outcome = Outcome(folder=None, error=type(error).__name__, text=str(error))
        finally:
            self._child.close()
        if self.stopped and outcome.folder is None:
            return None
        write_text(self.folder / OUTCOME, outcome.model_dump_json(indent=1))
        return outcome

    def stop(self) -> None:
        """Interrupt the worker as Ctrl-C would, and kill it where it does not heed that."""
        self.stopped = True
        process = self._child.process_id
        for number, patience in ((signal.SIGINT, STOP_SECONDS), (signal.SIGKILL, STOP_SECONDS)):
            try:
                os.killpg(process, number)
            except (ProcessLookupError, PermissionError):
                return
            deadline = time.monotonic() + patience
            while is_running(self.folder) and time.monotonic() < deadline:
                time.sleep(0.05)
            if not is_running(self.folder):
                return


def _take_lock(folder: Path) -> int:
    """A descriptor of the run's lock, held. Raises RunBusy where another process holds it on.

    What is held is the open file, so that a child that inherits the descriptor holds it as well.
    """
    folder.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # A watcher that looks whether the run goes on holds it for a moment.
            os.close(descriptor)
            if time.monotonic() > deadline:
                raise _busy(folder) from None
            time.sleep(LOCK_SECONDS / 40)
            continue
        if os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)  # The folder was freed meanwhile, and its lock with it.


def _busy(folder: Path) -> RunBusy:
    who = owner(folder)
    named = f"Process {who}" if who else "Another process"
    return RunBusy(f"{named} is working on the same run in {folder}. Watch it, or stop it there.")


def _writer(path: Path) -> Callable[[Event], None]:
    """A listener that appends events to `path`, at most ten progress events a second a stage."""
    file = path.open("a", encoding="utf-8")
    written: dict[str, float] = {}

    def listen(event: Event) -> None:
        if isinstance(event, StageProgress):
            now = time.monotonic()
            early = now - written.get(event.stage, 0.0) < PROGRESS_SECONDS
            if early and event.done < event.total:
                return
            written[event.stage] = now
        file.write(event.model_dump_json() + "\n")
        file.flush()

    return listen


def _fit(request: dict[str, Any], progress: object) -> dict[str, Any]:
    """Carry out a request in this process, which is the worker."""
    from edgecomp.jobs.fit import fit_recipe

    wanted = FitRequest.model_validate(request)
    try:
        os.nice(NICENESS)
        listen = _writer(run_folder(wanted) / EVENTS)
        fitted = fit_recipe(wanted.recipe, wanted.output, wanted.data, listen, "fit")
        outcome = Outcome(folder=fitted.folder.absolute())
    except EdgecompError as error:
        outcome = Outcome(folder=None, error=type(error).__name__, text=str(error))
    return outcome.model_dump(mode="json")


if __name__ == "__main__":
    try:
        serve({"fit": _fit})
    except KeyboardInterrupt:
        raise SystemExit(130) from None
