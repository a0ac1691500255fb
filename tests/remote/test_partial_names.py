"""Whose a half copied file is."""

from __future__ import annotations

import os
import subprocess
import sys

from edgecomp.remote.partial_names import MACHINE, is_leftover, partial_name, writer


def test_writers_of_one_process_have_names_of_their_own_and_live_as_long_as_they_write() -> None:
    with writer() as first, writer() as second:
        assert first != second
        assert not is_leftover(partial_name("a", first), "a")
    assert is_leftover(partial_name("a", first), "a")


def test_a_copy_is_nobodys_when_the_process_that_wrote_it_has_ended() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert is_leftover(partial_name("a", f"{MACHINE}-{ended.pid}-00000000"), "a")
    assert not is_leftover(partial_name("a", f"{MACHINE}-{os.getppid()}-00000000"), "a")


def test_another_machines_and_another_files_copies_are_let_be() -> None:
    assert not is_leftover(partial_name("a", f"0{MACHINE[:-1]}x-1-00000000"), "a")
    with writer() as own:
        pass
    assert not is_leftover(partial_name("b", own), "a")
    assert not is_leftover(partial_name("b.a", own), "a")
    assert not is_leftover("a", "a")
    assert is_leftover(".a.partial", "a")
