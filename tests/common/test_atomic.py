"""Files and folders that are whole or absent, whoever writes and is killed (A16)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgecomp.common.atomic import (
    copy_file,
    copy_folder,
    new_folder,
    replacing,
    replacing_folder,
    restore_folder,
    write_error,
    write_text,
)
from edgecomp.common.errors import DiskFull, FileUnreadable, NotWritable


def child(code: str, *arguments: Path) -> subprocess.Popen[str]:
    """A process of Python that runs `code`; its arguments are in `sys.argv`."""
    head = "import os, signal, sys\nfrom pathlib import Path\nfrom edgecomp.common import atomic\n"
    return subprocess.Popen(
        [sys.executable, "-c", head + textwrap.dedent(code), *map(str, arguments)],
        stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True,
    )  # fmt: skip


def killed(code: str, *arguments: Path) -> None:
    """Run `code` in a process that kills itself on the way."""
    process = child(code, *arguments)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 100 kB; skips where none can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", "size=100k", "tmpfs", str(folder)]
    if subprocess.run(["mount", *options], capture_output=True).returncode:
        pytest.skip("no tmpfs can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_source_that_is_gone_is_named_and_not_the_destination(tmp_path: Path) -> None:  # A16
    source, result = tmp_path / "source.gguf", tmp_path / "result.gguf"
    with pytest.raises(FileUnreadable, match=f"{source} cannot be read"), replacing(result) as file:
        copy_file(source, file)
    with pytest.raises(FileUnreadable, match=f"{source} cannot be read"), replacing(result):
        source.read_bytes()
    assert list(tmp_path.iterdir()) == []


def test_a_source_that_cannot_be_read_is_named_when_a_folder_is_copied(tmp_path: Path) -> None:
    # A16; a folder in a file's place and a loop of links can be read by no user, root included.
    source, result = tmp_path / "source", tmp_path / "result"
    source.mkdir()
    (source / "a").symlink_to(source / "a")
    with pytest.raises(FileUnreadable, match=f"{source / 'a'} cannot be read"), replacing(result):
        copy_file(source / "a", result)
    with pytest.raises(FileUnreadable, match="is a directory"), replacing(result) as file:
        copy_file(source, file)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_full_disk_is_the_destinations_fault(small_disk: Path, tmp_path: Path) -> None:  # A16
    source = tmp_path / "source"
    source.mkdir()
    (source / "weights").write_bytes(bytes(1_000_000))
    for path in (small_disk / "file", small_disk / "folder"):
        with pytest.raises(DiskFull, match=str(path)):
            if path.name == "file":
                with replacing(path) as temporary:
                    copy_file(source / "weights", temporary)
            else:
                with replacing_folder(path) as temporary:
                    copy_folder(source, temporary)
        assert list(small_disk.iterdir()) == []


def test_a_full_disk_is_told_of_a_checkpoint(small_disk: Path) -> None:  # A16
    import torch

    from edgecomp.compress.checkpoint import write_shard

    with pytest.raises(DiskFull):
        write_shard(small_disk / "model.safetensors", {"weight": torch.zeros(1 << 16)})
    assert list(small_disk.iterdir()) == []


def test_what_an_error_names_decides_whose_fault_it_is(tmp_path: Path) -> None:  # A16
    result = tmp_path / "made" / "result.gguf"
    for named in (result, tmp_path, result.with_name(".result.gguf.0a1b2c3d.partial")):
        assert isinstance(write_error(result, PermissionError(13, "no", str(named))), NotWritable)
    for named in (tmp_path / "source.gguf", result.with_name("source.gguf")):
        fault = write_error(result, PermissionError(13, "no", str(named)))
        assert isinstance(fault, FileUnreadable) and str(named) in str(fault)


def test_a_folder_is_copied_with_all_below_it(tmp_path: Path) -> None:
    (tmp_path / "source" / "inner").mkdir(parents=True)
    (tmp_path / "source" / "inner" / "file").write_bytes(b"x" * 100)
    with new_folder(tmp_path / "copy") as temporary:
        copy_folder(tmp_path / "source", temporary)
    assert (tmp_path / "copy" / "inner" / "file").read_bytes() == b"x" * 100


@pytest.mark.parametrize("way", ["replacing", "new_folder", "replacing_folder"])
def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path: Path, way: str) -> None:
    # A16
    killed(
        f"""
        with atomic.{way}(Path(sys.argv[1])) as temporary:
            (temporary / "file" if temporary.is_dir() else temporary).write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
        """,
        tmp_path / "result",
    )
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".result.")
    write_text(tmp_path / "other", "")
    assert left.exists()
    write_text(tmp_path / "result", "whole")
    assert {path.name for path in tmp_path.iterdir()} == {"other", "result"}


def test_two_writers_of_one_file_do_not_share_a_temporary(tmp_path: Path) -> None:  # A16
    path = tmp_path / "result"
    other = child(
        """
        with atomic.replacing(Path(sys.argv[1])) as temporary:
            temporary.write_text("first")
            print(flush=True)
            sys.stdin.readline()
        """,
        path,
    )
    assert other.stdout and other.stdout.readline()
    (theirs,) = tmp_path.iterdir()
    write_text(path, "second")
    assert theirs.read_text() == "first" and path.read_text() == "second"
    other.communicate("\n", timeout=60)
    assert other.returncode == 0
    assert path.read_text() == "first" and list(tmp_path.iterdir()) == [path]


def test_many_writers_of_one_folder_leave_one_of_theirs_whole(tmp_path: Path) -> None:  # A16
    code = """
        for turn in range(20):
            with atomic.replacing_folder(Path(sys.argv[1])) as temporary:
                for part in range(3):
                    (temporary / str(part)).write_text(f"{os.getpid()} {turn}")
        """
    writers = [child(code, tmp_path / "result") for _ in range(3)]
    for writer in writers:
        writer.communicate(timeout=120)
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    texts = {path.read_text() for path in (tmp_path / "result").iterdir()}
    assert len(texts) == 1 and texts.pop().endswith(" 19")
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


STEPS = """
    count = int(sys.argv[2])
    def counted(name, number, inner):
        def step(*arguments, **named):
            global count
            count -= 1
            if count < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return inner(*arguments, **named)
        return step
    for owner, name in ((Path, "rename"), (Path, "replace"), (os, "fsync"), (os, "close")):
        setattr(owner, name, counted(name, count, getattr(owner, name)))
    if sys.argv[3] == "no exchange":
        atomic._exchange = lambda first, second: False
    with atomic.replacing_folder(Path(sys.argv[1])) as temporary:
        (temporary / "file").write_text("new")
        (temporary / "other").write_text("new")
    print("done")
    """
"""Replaces a folder, and is killed before one of its steps that reach the disk."""


@pytest.mark.parametrize("way", ["exchange", "no exchange"])
def test_a_kill_at_any_step_leaves_the_old_folder_or_the_new_one(tmp_path: Path, way: str) -> None:
    # A16
    folder = tmp_path / "bundle"
    kept, put_aside = set(), 0
    for count in range(100):
        with replacing_folder(folder) as temporary:
            (temporary / "file").write_text("old")
        process = child(STEPS, folder, Path(str(count)), Path(way))
        output, _ = process.communicate(timeout=60)
        if output == "done\n":
            break
        put_aside += not folder.exists()
        restore_folder(folder)
        texts = {path.name: path.read_text() for path in folder.iterdir()}
        assert texts in ({"file": "old"}, {"file": "new", "other": "new"})
        kept.add(texts["file"])
    assert kept == {"old", "new"}
    # Swapped in one step it is never absent; in two, for one moment, and then comes back.
    assert put_aside == (0 if way == "exchange" else 1)
    with replacing_folder(folder) as temporary:
        (temporary / "file").write_text("last")
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_folder_whose_replacing_fails_stays_as_it_was(tmp_path: Path) -> None:  # A16
    folder = tmp_path / "result"
    folder.mkdir()
    (folder / "file").write_text("old")
    with pytest.raises(FileUnreadable), replacing_folder(folder) as temporary:
        (temporary / "file").write_text("new")
        copy_folder(tmp_path / "absent", temporary)
        copy_file(tmp_path / "absent", temporary / "other")
    assert (folder / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


def test_a_file_written_anew_may_be_read_by_whom_the_umask_lets(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        write_text(tmp_path / "file", "text")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644
