"""Stages of a run: each result is kept under a key of everything it depends on, and taken again.

A stage works in a folder of its own, named by the hash of its name, its inputs and edgecomp's
version, since another version may compute something else.
When its work is done its result is written there, whole or not at all; a run that was killed
therefore finds every finished stage and repeats only the one that was under way. Two processes
never work in the same folder.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout
from pydantic import ValidationError

from edgecomp import __version__
from edgecomp.atomic import write_error, write_text
from edgecomp.errors import RunBusy
from edgecomp.events import Listener, Progress, StageFinished, StageProgress, StageStarted
from edgecomp.folders import cache_folder
from edgecomp.value import Value

RESULT = "result.json"
Result = TypeVar("Result", bound=Value)


def stage_key(name: str, inputs: dict[str, Any]) -> str:
    """A hash of a stage's name and inputs (JSON values) in this version of edgecomp."""
    text = json.dumps([__version__, name, inputs], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:24]


def run_stage(
    name: str,
    title: str,
    result_type: type[Result],
    inputs: dict[str, Any],
    work: Callable[[Path, Progress], Result],
    listen: Listener,
) -> Result:
    """Run one stage, or take its result from an earlier run.

    `work` gets the stage's own folder, where an interrupted attempt may have left files, and a
    function to report progress with. Raises RunBusy where another process is at the same stage.
    """
    folder = cache_folder() / "stages" / f"{name}-{stage_key(name, inputs)}"
    listen(StageStarted(stage=name, title=title))
    began = time.perf_counter()
    kept = _kept(folder / RESULT, result_type)
    if kept is None:
        kept = _work(folder, title, result_type, work, lambda done, total: listen(
            StageProgress(stage=name, done=done, total=total)
        ))  # fmt: skip
        cached = False
    else:
        cached = True
    listen(StageFinished(stage=name, cached=cached, seconds=time.perf_counter() - began))
    return kept


def _work(
    folder: Path,
    title: str,
    result_type: type[Result],
    work: Callable[[Path, Progress], Result],
    progress: Progress,
) -> Result:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", timeout=0)
        lock.acquire()
    except Timeout as error:
        raise RunBusy(
            f"Another process is at the same stage ({title}) in {folder}. Wait for it or stop it."
        ) from error
    except OSError as error:
        raise write_error(folder, error) from error
    with lock:
        # Whoever held the lock before may have finished the stage meanwhile.
        result = _kept(folder / RESULT, result_type)
        if result is None:
            result = work(folder, progress)
            write_text(folder / RESULT, result.model_dump_json(indent=1))
    lock.release()
    return result


def _kept(path: Path, result_type: type[Result]) -> Result | None:
    if not path.is_file():
        return None
    try:
        return result_type.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError:
        # Written by another version of edgecomp: made again.
        return None


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, remembered by its path, size and time of change."""
    state = path.stat()
    memory = (
        cache_folder()
        / "digests"
        / hashlib.sha256(
            f"{path.resolve()}|{state.st_size}|{state.st_mtime_ns}".encode()
        ).hexdigest()
    )
    if memory.is_file():
        kept = memory.read_text()
        if len(kept) == 64:
            return kept
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    write_text(memory, digest)
    return digest
