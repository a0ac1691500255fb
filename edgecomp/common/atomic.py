"""Files and folders that are either whole or absent.

A result is written under a temporary name in its own folder, flushed to the disk and renamed. The
temporary name is the writer's own, and locked while it lives: a process killed at any moment leaves
at most what the next writer of the same path sees to be nobody's, and removes.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edgecomp.common.errors import DiskFull, EdgecompError, FileUnreadable, NotWritable
from edgecomp.common.folders import cache_folder, config_folder, nearest_existing

PARTIAL = ".partial"
COPY_BYTES = 1 << 23

AT_FDCWD, RENAME_EXCHANGE = -100, 2
"""Numbers that Linux's renameat2(2) takes."""

OVERTAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT)
"""What a rename meets where another process has just written or removed the same name."""


def write_error(path: Path, error: OSError) -> EdgecompError:
    """The explained error for an OSError met while writing `path`: DiskFull or NotWritable, and
    FileUnreadable where it names a file that lies elsewhere, which was to be read."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(path)
    fault = (error.strerror or str(error)).lower()
    named = error.filename if isinstance(error.filename, str) else None
    if named and not _belongs(Path(named).absolute(), path.absolute()):
        return FileUnreadable(Path(named), fault)
    return _not_writable(path, fault)


def _not_writable(path: Path, fault: str) -> NotWritable:
    own = {"EDGECOMP_CACHE": cache_folder(), "EDGECOMP_CONFIG": config_folder()}
    for variable, folder in own.items():
        if path.absolute().is_relative_to(folder.absolute()):
            return NotWritable(path, fault, f"Set {variable} to a folder that can be.")
    return NotWritable(path, fault)


def _belongs(named: Path, path: Path) -> bool:
    """Whether writing `path` writes `named`: itself, its temporary name, what lies in it, or a
    folder above it."""
    if named == path or named in path.parents or path in named.parents:
        return True
    return any(
        place.parent == path.parent and _is_temporary(place.name, path)
        for place in (named, *named.parents)
    )


def _is_temporary(name: str, path: Path) -> bool:
    return name.startswith(f".{path.name}.") and name.endswith(PARTIAL)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Raises FileUnreadable for an OSError in the block, which reads `path`."""
    try:
        yield
    except OSError as error:
        raise FileUnreadable(path, (error.strerror or str(error)).lower()) from error


def copy_file(source: Path, destination: Path) -> None:
    """Copy a file's bytes. Raises FileUnreadable for what `source` does, OSError for the rest."""
    with reading(source):
        file = source.open("rb")
    with file, destination.open("wb") as written:
        while True:
            with reading(source):
                piece = file.read(COPY_BYTES)
            if not piece:
                break
            written.write(piece)


def copy_folder(source: Path, destination: Path) -> None:
    """Copy every file below a folder into another. Raises what `copy_file` does."""
    with reading(source):
        files = [file for file in sorted(source.rglob("*")) if file.is_file()]
    for file in files:
        target = destination / file.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        copy_file(file, target)


def sync(path: Path) -> None:
    """Flush a file, or a folder's list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def take_space(descriptor: int, size_bytes: int) -> None:
    """Give an open file its size, with the disk behind all of it. Raises OSError."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size_bytes)
        return
    block = bytes(min(size_bytes, 1 << 22))
    for start in range(0, size_bytes, len(block)):
        os.write(descriptor, block[: size_bytes - start])


def require_writable(folder: Path) -> None:
    """Raise NotWritable or DiskFull where nothing can be written into `folder`, made or to be."""
    if folder.is_file():
        raise _not_writable(folder, "it is a file, and the result is a folder")
    parent = nearest_existing(folder)
    try:
        with tempfile.TemporaryFile(dir=parent):
            pass
    except OSError as error:
        # The name that it holds is one of the trial's own.
        raise write_error(folder, OSError(error.errno, error.strerror)) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield an empty temporary file beside `path`; it takes that name when the block succeeds.

    Raises DiskFull, NotWritable or FileUnreadable instead of OSError, and then leaves nothing
    behind.
    """
    try:
        with _temporary(path, is_folder=False) as temporary:
            yield temporary
            sync(temporary)
            temporary.replace(path)
            sync(path.parent)
    except OSError as error:
        raise write_error(path, error) from error


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; it takes the name `path` when the block succeeds.

    Raises NotWritable where `path` holds anything already, and DiskFull, NotWritable or
    FileUnreadable instead of OSError; it then leaves nothing behind.
    """
    try:
        if path.exists() and (path.is_file() or any(path.iterdir())):
            raise NotWritable(path, "it is not empty")
        with _temporary(path, is_folder=True) as temporary:
            yield temporary
            _sync_all(temporary)
            temporary.replace(path)
            sync(path.parent)
    except OSError as error:
        raise write_error(path, error) from error


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """As `new_folder`, but what `path` held is replaced: until the new folder is whole and on the
    disk, the old one stays. `path` names no link and not the folder one is in."""
    try:
        restore_folder(path)
        with _temporary(path, is_folder=True) as temporary:
            yield temporary
            _sync_all(temporary)
            _put(temporary, path)
            sync(path.parent)
            # What had the name before goes only now: a lost rename would else leave nothing.
        shutil.rmtree(_aside(path), ignore_errors=True)
    except OSError as error:
        raise write_error(path, error) from error


def restore_folder(path: Path) -> None:
    """Give a folder its name back that a writer killed in `_rename_over` had put aside."""
    if not path.exists() and _aside(path).exists():
        # Another reader may do the same.
        with suppress(OSError):
            _aside(path).rename(path)


def write_text(path: Path, text: str) -> None:
    """Write a whole text file (UTF-8), or nothing."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _sync_all(folder: Path) -> None:
    for path in folder.rglob("*"):
        sync(path)
    sync(folder)


def _put(temporary: Path, path: Path) -> None:
    """Give `temporary` the name `path`; what has that name is left aside, or as `temporary`."""
    while True:
        try:
            if not path.exists():
                temporary.rename(path)
            elif not _exchange(temporary, path):
                _rename_over(temporary, path)
            return
        except OSError as error:
            # Where another writer came between, the same is done again.
            if error.errno not in OVERTAKEN or not temporary.exists():
                raise


def _exchange(first: Path, second: Path) -> bool:
    """Swap two names in one step; False where the system, or this file system, cannot."""
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None)
    names = os.fsencode(first), os.fsencode(second)
    return renameat2 is not None and not renameat2(
        AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE
    )


def _rename_over(temporary: Path, path: Path) -> None:
    """Give `temporary` the name `path` in two steps; between them `restore_folder` can help."""
    shutil.rmtree(_aside(path), ignore_errors=True)
    path.rename(_aside(path))
    temporary.rename(path)


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")


@contextmanager
def _temporary(path: Path, *, is_folder: bool) -> Iterator[Path]:
    """A file or folder beside `path` under a name of its own, gone in the end; its lock shows other
    processes that its writer lives."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    temporary, lock = _new_temporary(path, is_folder=is_folder)
    try:
        yield temporary
    finally:
        _remove(temporary)
        os.close(lock)


def _new_temporary(path: Path, *, is_folder: bool) -> tuple[Path, int]:
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PARTIAL}")
        temporary.mkdir() if is_folder else temporary.touch(exist_ok=False)
        with suppress(FileNotFoundError):
            lock = os.open(temporary, os.O_RDONLY)
            # Where a file system has no locks, nobody takes it for a leftover either.
            with suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_EX)
            # Before it was locked, another writer may have taken it for one.
            if temporary.exists():
                return temporary, lock
            os.close(lock)


def _remove_leftovers(path: Path) -> None:
    """Remove what killed writers of `path` left: temporaries that nobody holds."""
    with os.scandir(path.parent) as entries:
        names = [entry.name for entry in entries if _is_temporary(entry.name, path)]
    for name in names:
        with suppress(OSError):
            lock = os.open(path.with_name(name), os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(path.with_name(name))
            finally:
                os.close(lock)


def _remove(path: Path) -> None:
    """Remove a file or a folder, where it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
