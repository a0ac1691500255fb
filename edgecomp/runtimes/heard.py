"""What a library prints, passed on to the worker's log and listened to on the way."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import TextIO

from edgecomp.common.events import Progress


class Heard(io.StringIO):
    """A stream that writes on to `log` at once and keeps what it wrote; `hear` gets each piece."""

    def __init__(self, log: TextIO, hear: Callable[[str], None] | None = None) -> None:
        super().__init__()
        self._log = log
        self._hear = hear

    def write(self, text: str) -> int:
        self._log.write(text)
        self._log.flush()
        if self._hear:
            self._hear(text)
        return super().write(text)


def counted_steps(
    pattern: re.Pattern[str], progress: Progress, total: int = 0
) -> Callable[[str], None]:
    """Reports each step whose number a library prints, the first group of `pattern`, as begun.

    The second group is how many there are, unless `total` says so.
    """

    def hear(text: str) -> None:
        for found in pattern.finditer(text):
            progress(int(found[1]), total or int(found[2]))

    return hear
