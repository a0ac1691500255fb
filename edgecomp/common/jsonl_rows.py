"""Rows of a JSON-lines file, whose fields are asked for by type and refused by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgecomp.common.atomic import reading
from edgecomp.common.errors import DataMalformed, shown
from edgecomp.common.json_text import parsed_json


class Fault(Exception):
    """What is wrong with a row; the caller knows its file and line."""


class Row:
    """A JSON object whose fields are asked for by type."""

    def __init__(self, fields: dict[str, Any], line: int) -> None:
        self.fields = fields
        self.line = line

    def text(self, name: str) -> str:
        value = self.fields.get(name)
        if not isinstance(value, str) or not value.strip():
            raise Fault(f"the field {name!r} must be a text, and is {shown(value)}.")
        return value

    def texts(self, name: str, fewest: int) -> list[str]:
        value = self.fields.get(name)
        if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
            raise Fault(f"the field {name!r} must be a list of texts.")
        if len(value) < fewest:
            raise Fault(f"the field {name!r} has {len(value)} entries; it needs {fewest} or more.")
        return value

    def whole(self, name: str, below: int) -> int:
        value = self.fields.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < below:
            raise Fault(
                f"the field {name!r} must be a whole number from 0 to {below - 1}, "
                f"and is {shown(value)}."
            )
        return value

    def one_of(self, name: str, allowed: tuple[str, ...]) -> str:
        value = self.text(name)
        if value not in allowed:
            raise Fault(f"the field {name!r} is {shown(value)}; known are {', '.join(allowed)}.")
        return value


def read_text(path: Path) -> str:
    """The text of a file, without the byte order mark that some editors put first. Raises
    DataMalformed where it is not UTF-8, and FileUnreadable."""
    try:
        with reading(path):
            return path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DataMalformed(path, line, "it is not UTF-8 text") from error


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of `path`, empty lines left out. Raises DataMalformed where one is no object."""
    # Not splitlines: a text may hold other line separators, such as U+2028.
    for line, text in enumerate(read_text(path).split("\n"), start=1):
        if not text.strip():
            continue
        try:
            fields = parsed_json(text)
        except ValueError as error:
            raise DataMalformed(path, line, f"it is not JSON ({error})") from error
        if not isinstance(fields, dict):
            raise DataMalformed(path, line, "it is not a JSON object")
        yield Row(fields, line)
