"""Text that comes from a model, made safe before it is shown or written.

A model's names, tokens and messages may hold anything: line ends that close a shell script's text,
codes that a terminal obeys, marks that turn the reading direction. What is kept is an allow-list:
the characters that Unicode calls printable, and the space.
"""

from __future__ import annotations

import re

LONGEST_LINE = 200
LONGEST_FILE_NAME = 100
"""In characters; a format, an extension and a prefix come on top, and 255 bytes are the limit."""


def one_line(text: str, longest: int = LONGEST_LINE) -> str:
    """`text` as one line of at most `longest` printable characters.

    White space of any kind becomes a single space; what is not printable goes.
    """
    spaced = re.sub(r"\s+", " ", text)
    line = "".join(c for c in spaced if c.isprintable()).strip()
    return line if len(line) <= longest else f"{line[: longest - 1].rstrip()}…"


def printable_lines(text: str) -> str:
    """`text` with its line ends, and without anything else that is not printable."""
    kept = ("".join(c for c in line if c.isprintable()) for line in text.split("\n"))
    return "\n".join(kept)


def file_name(text: str) -> str:
    """`text` as a file name that no shell and no parser reads otherwise: ASCII letters, digits,
    points, dashes and underscores, at most LONGEST_FILE_NAME of them."""
    kept = re.sub(r"[^A-Za-z0-9._-]", "-", text)[:LONGEST_FILE_NAME]
    return kept.strip("-.") or "model"
