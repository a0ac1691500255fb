"""What the tests of llama.cpp's sessions have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from edgecomp.runtimes.llama_cpp.session import Position, Session


@pytest.fixture
def count_read(monkeypatch: pytest.MonkeyPatch) -> Callable[[Session], Callable[[], int]]:
    """Count the tokens that a session runs from now on: the call that is returned tells them."""

    def start(session: Session) -> Callable[[], int]:
        read = 0
        decode = session.decode

        def counted(entries: Sequence[Position]) -> None:
            nonlocal read
            read += len(entries)
            decode(entries)

        monkeypatch.setattr(session, "decode", counted)
        return lambda: read

    return start
