"""What lies in the cache, by the model that it was made for; and freeing it.

Only what no process works with is freed: a stage is taken away under its lock, and stays while a
run that took its result goes on.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

import psutil
from filelock import FileLock, Timeout
from pydantic import ValidationError

from edgecomp.common.folders import RUNS, SCRATCH, cache_folder
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.pipeline.stage_cache import (
    LOCK,
    RECORD,
    USED_BY,
    StageRecord,
    clear_stage,
    code_digest,
    stages_folder,
    user_lives,
)

UNKNOWN = "unknown"
"""Whose folder says nothing of a model: begun by an older edgecomp, or damaged."""


class CachedModel(FrozenModel):
    """What is kept for one model."""

    model: str
    stages: int
    size_bytes: int
    outdated_bytes: int
    """Part of them made by other code than today's: no run takes them again."""

    last_used: float
    """Seconds since 1970."""


class CacheContents(FrozenModel):
    """All that is kept, and what was freed of it."""

    schema_version: Literal[1] = 1
    folder: Path
    models: tuple[CachedModel, ...]
    other_bytes: int
    """Headers from the hub, records of background runs, remembered hashes, leftover scratch."""

    freed_bytes: int = 0
    in_use: tuple[str, ...] = ()
    """Stages that were to be freed and that a process is working at."""

    @property
    def size_bytes(self) -> int:
        return sum(row.size_bytes for row in self.models) + self.other_bytes


def read_contents(model: str | None = None) -> CacheContents:
    """What lies in the cache now, of `model` alone or of all. Reads names and sizes."""
    rows: dict[str, CachedModel] = {}
    for folder, record in _stages(model):
        name = record.model if record else UNKNOWN
        before = rows.get(name) or CachedModel(
            model=name, stages=0, size_bytes=0, outdated_bytes=0, last_used=0.0
        )
        size = _size(folder)
        outdated = record is None or record.code != code_digest()
        used = max((file.stat().st_mtime for file in _files(folder)), default=0.0)
        rows[name] = CachedModel(
            model=name,
            stages=before.stages + 1,
            size_bytes=before.size_bytes + size,
            outdated_bytes=before.outdated_bytes + (size if outdated else 0),
            last_used=max(before.last_used, used),
        )
    others = 0 if model else sum(_size(cache_folder() / name) for name in _others())
    by_size = sorted(rows.values(), key=lambda row: -row.size_bytes)
    return CacheContents(folder=cache_folder(), models=tuple(by_size), other_bytes=others)


def prune_cache(model: str | None = None) -> CacheContents:
    """Free the stages of `model`, or of all and what else lies there, but for what a process works
    with. Returns what is left of it."""
    freed, in_use = 0, []
    for folder, record in list(_stages(model)):
        size = _size(folder)
        if _remove(folder):
            freed += size
        else:
            in_use.append(record.title if record else folder.name)
    if model is None:
        freed += sum(_free_others())
    left = read_contents(model)
    return left.model_copy(update={"freed_bytes": freed, "in_use": tuple(in_use)})


def _stages(model: str | None) -> Iterator[tuple[Path, StageRecord | None]]:
    folder = stages_folder()
    for stage in sorted(folder.iterdir()) if folder.is_dir() else []:
        record = _record(stage / RECORD)
        if stage.is_dir() and model in (None, record.model if record else UNKNOWN):
            yield stage, record


def _record(path: Path) -> StageRecord | None:
    try:
        return StageRecord.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError, UnicodeDecodeError):
        return None


def _remove(folder: Path) -> bool:
    """Take a folder away, unless a process works in it or goes on from what lies there."""
    if any(user_lives(mark) for mark in folder.glob(f"{USED_BY}*")):
        return False
    try:
        with FileLock(folder / LOCK, timeout=0):
            # The lock's own file goes last: until then nobody else begins here.
            clear_stage(folder)
            (folder / LOCK).unlink()
            folder.rmdir()
    except Timeout:
        return False
    return True


def _others() -> Iterator[str]:
    if cache_folder().is_dir():
        yield from (path.name for path in cache_folder().iterdir() if path != stages_folder())


def _free_others() -> Iterator[int]:
    """Bytes of each part that is freed."""
    for name in _others():
        for part in (cache_folder() / name).iterdir() if (cache_folder() / name).is_dir() else []:
            size = _size(part)
            if name == RUNS:
                gone = _remove(part)
            elif name == SCRATCH:
                gone = not _has_owner(part) and _taken_away(part)
            else:
                gone = _taken_away(part)
            if gone:
                yield size


def _taken_away(part: Path) -> bool:
    with suppress(OSError):
        shutil.rmtree(part) if part.is_dir() and not part.is_symlink() else part.unlink()
    return not part.exists()


def _has_owner(scratch: Path) -> bool:
    """Whether the process that a scratch folder is called after still runs."""
    number = scratch.name.partition("-")[0]
    return number.isdigit() and psutil.pid_exists(int(number))


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _size(path: Path) -> int:
    if path.is_dir():
        return sum(file.lstat().st_size for file in _files(path))
    return path.lstat().st_size if path.exists() else 0
