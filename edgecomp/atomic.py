"""Files that are either whole or absent.

A result is written under a temporary name in its own folder, flushed to the disk and renamed;
a process killed at any moment leaves at most a temporary file, which the next run replaces.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edgecomp.errors import DiskFull, EdgecompError, NotWritable


def write_error(path: Path, error: OSError) -> EdgecompError:
    """The explained error for an OSError met while writing `path`."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(path)
    return NotWritable(path, (error.strerror or str(error)).lower())


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
        raise NotWritable(folder, "it is a file, and the result is a folder")
    parent = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=parent):
            pass
    except OSError as error:
        raise write_error(folder, error) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it takes the name `path` when the block succeeds.

    Raises DiskFull or NotWritable instead of OSError, and then leaves nothing behind.
    """
    temporary = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        # Where the parent is a file, or gone, there is nothing to tidy.
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; it takes the name `path` when the block succeeds.

    Raises NotWritable where `path` holds anything already, and DiskFull or NotWritable instead of
    OSError; it then leaves nothing behind.
    """
    temporary = path.with_name(f".{path.name}.partial")
    try:
        if path.exists() and (path.is_file() or any(path.iterdir())):
            raise NotWritable(path, "it is not empty")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        yield temporary
        for file in temporary.rglob("*"):
            sync(file)
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a whole text file (UTF-8), or nothing."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
