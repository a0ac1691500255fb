"""Hashes of files, folders and texts: what stands for their bytes in keys and records."""

from __future__ import annotations

import hashlib
from pathlib import Path

from edgecomp.common.atomic import write_text
from edgecomp.common.folders import cache_folder


def tree_digest(folder: Path) -> str:
    """A hash of every file below a folder that a stage made."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    listed = "\n".join(f"{file.relative_to(folder)} {file_digest(file)}" for file in files)
    return hashlib.sha256(listed.encode()).hexdigest()


def path_digest(path: Path) -> str:
    """A hash of a file, or of every file below a folder. Raises OSError."""
    return tree_digest(path) if path.is_dir() else file_digest(path)


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, remembered by the file and its time of change, which nobody sets:
    other bytes of the same size and the same time of writing are seen. Raises OSError."""
    state = path.stat()
    known = (path.resolve(), state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns,
             state.st_ctime_ns)  # fmt: skip
    name = hashlib.sha256("|".join(map(str, known)).encode()).hexdigest()
    memory = cache_folder() / "digests" / name
    if memory.is_file():
        kept = memory.read_text()
        if len(kept) == 64:
            return kept
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    write_text(memory, digest)
    return digest


def text_digest(text: str) -> str:
    """SHA-256 of a text."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
