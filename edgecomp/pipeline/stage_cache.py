"""Stages of a run: each result is kept under a key of everything it depends on, and taken again.

A stage works in a folder of its own, named by the hash of its name, its inputs and the code that
makes it, since other code may compute something else. When its work is done its result is written
there, whole or not at all; a run that was killed therefore finds every finished stage and repeats
only the one that was under way. A result whose files are gone or changed is made again. Two
processes never work in the same folder. Beside the result stands whose it is: cache_contents.py
lists and frees by model.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import psutil
from filelock import FileLock, Timeout
from pydantic import BaseModel, ValidationError

import edgecomp
from edgecomp.common.atomic import write_error, write_text
from edgecomp.common.digests import path_digest
from edgecomp.common.errors import RunBusy
from edgecomp.common.events import Listener, Progress, StageFinished, StageProgress, StageStarted
from edgecomp.common.folders import cache_folder
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.common.package_versions import package_version

RESULT, RECORD, LOCK, USED_BY = "result.json", "stage.json", ".lock", ".used-by-"
Result = TypeVar("Result", bound=FrozenModel)

SHOWING = ("tui", "cli.py", "terminal")
"""Parts of the package that make nothing."""

COMPUTING = ("torch", "transformers", "tokenizers", "numpy", "gguf", "onnxruntime-genai")
"""Distributions whose versions decide what a stage makes; a runtime's is among a stage's inputs."""


class StoredFile(FrozenModel):
    """A file or folder that a stage made, and the hash of its bytes."""

    path: Path
    sha256: str


class StageRecord(FrozenModel):
    """Whose a stage's folder is."""

    schema_version: Literal[1] = 1
    stage: str
    title: str
    model: str
    code: str
    """The hash of the code that made it: of another code's stages nobody takes the result."""


def stages_folder() -> Path:
    """Where every stage has its folder."""
    return cache_folder() / "stages"


@lru_cache
def code_digest() -> str:
    """A hash of the code that makes stages: edgecomp's own, and the versions of what it computes
    with."""
    exporters = importlib.util.find_spec("edgecomp.exporters")
    places = (exporters.submodule_search_locations if exporters else None) or []
    made = hashlib.sha256()
    for folder in (Path(edgecomp.__file__).parent, *map(Path, places)):
        for file in sorted(folder.rglob("*.py")):
            name = file.relative_to(folder).as_posix()
            if name.split("/")[0] not in SHOWING:
                made.update(name.encode() + b"\0" + file.read_bytes())
    for name in COMPUTING:
        made.update(f"{name} {package_version(name)}".encode())
    return made.hexdigest()


def stage_key(name: str, inputs: dict[str, Any]) -> str:
    """A hash of a stage's name, its inputs (JSON values) and the code that makes it."""
    text = json.dumps([code_digest(), name, inputs], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:24]


class StageLabel(NamedTuple):
    """What a stage is called, and the name of the model that it is done for."""

    name: str
    title: str
    model: str


def run_stage(
    label: StageLabel,
    result_type: type[Result],
    inputs: dict[str, Any],
    work: Callable[[Path, Progress], Result],
    listen: Listener,
) -> Result:
    """Run one stage, or take its result from an earlier run.

    `work` gets the stage's own folder, where an interrupted attempt may have left files, and a
    function to report progress with. Raises RunBusy where another process is at the same stage.
    """
    name, title, model = label
    folder = stages_folder() / f"{name}-{stage_key(name, inputs)}"
    listen(StageStarted(stage=name, title=title))
    began = time.perf_counter()
    kept = _kept(folder / RESULT, result_type)
    cached = kept is not None
    if kept is None:
        record = StageRecord(stage=name, title=title, model=model, code=code_digest())
        kept = _work(folder, record, result_type, work, lambda done, total: listen(
            StageProgress(stage=name, done=done, total=total)
        ))  # fmt: skip
    _mark_used(folder)
    listen(StageFinished(stage=name, cached=cached, seconds=time.perf_counter() - began))
    return kept


def growing_folder(label: StageLabel, inputs: dict[str, Any]) -> Path:
    """A folder beside the stages' that runs add to, under a key as theirs; listed and freed with
    them. Several processes may work with it at once. Raises DiskFull or NotWritable."""
    folder = stages_folder() / f"{label.name}-{stage_key(label.name, inputs)}"
    if not (folder / RECORD).is_file():
        record = StageRecord(
            stage=label.name, title=label.title, model=label.model, code=code_digest()
        )
        with stage_lock(folder, label.title):
            write_text(folder / RECORD, record.model_dump_json(indent=1))
    _mark_used(folder)
    return folder


def _mark_used(folder: Path) -> None:
    """Note that this process goes on from a stage's files, so that nobody frees them meanwhile."""
    for mark in folder.glob(f"{USED_BY}*"):
        if not user_lives(mark):
            mark.unlink(missing_ok=True)
    (folder / f"{USED_BY}{os.getpid()}").touch()


def user_lives(mark: Path) -> bool:
    """Whether the process that a mark is called after still runs."""
    number = mark.name.removeprefix(USED_BY)
    return number.isdigit() and psutil.pid_exists(int(number))


def _work(
    folder: Path,
    record: StageRecord,
    result_type: type[Result],
    work: Callable[[Path, Progress], Result],
    progress: Progress,
) -> Result:
    with stage_lock(folder, record.title):
        # Whoever held the lock before may have finished the stage meanwhile.
        result = _kept(folder / RESULT, result_type)
        if result is None:
            if (folder / RESULT).exists():
                # Finished once, and no longer what it was: nothing of it is gone on from.
                clear_stage(folder)
            write_text(folder / RECORD, record.model_dump_json(indent=1))
            result = work(folder, progress)
            write_text(folder / RESULT, result.model_dump_json(indent=1))
    return result


def clear_stage(folder: Path) -> None:
    """Take away all that lies in a stage's folder but its lock, which must be held. Raises
    OSError."""
    for part in folder.iterdir():
        if part.name != LOCK:
            shutil.rmtree(part) if part.is_dir() else part.unlink()


@contextmanager
def stage_lock(folder: Path, title: str) -> Iterator[None]:
    """Hold a stage's folder, made where it is not there. Raises RunBusy where another process has
    it, DiskFull or NotWritable."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = FileLock(folder / LOCK, timeout=0).acquire()
    except Timeout as error:
        raise RunBusy(
            f"Another process is at the same stage ({title}) in {folder}. Wait for it or stop it."
        ) from error
    except OSError as error:
        raise write_error(folder, error) from error
    with held:
        yield


def _kept(path: Path, result_type: type[Result]) -> Result | None:
    """The result in a file; None where it is damaged, another version's, or its files are gone or
    other than they were."""
    try:
        result = result_type.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError, UnicodeDecodeError):
        return None
    return result if all(map(_is_whole, _stored_files(result))) else None


def _stored_files(value: object) -> Iterator[StoredFile]:
    """Every file that a result names, however deep."""
    if isinstance(value, StoredFile):
        yield value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _stored_files(getattr(value, name))
    elif isinstance(value, dict):
        for part in value.values():
            yield from _stored_files(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _stored_files(part)


def _is_whole(file: StoredFile) -> bool:
    try:
        return path_digest(file.path) == file.sha256
    except OSError:
        return False
