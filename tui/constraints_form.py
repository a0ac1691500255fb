"""The limits and the task, as fields; a value that cannot be read is explained under them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Input, Label, Select

from edgecomp.common.tasks import KV_TYPES, TASKS

from .notice import Notice

if TYPE_CHECKING:
    from edgecomp.recipes.constraints import Constraints

DEBOUNCE_SECONDS = 0.25
FIELDS = {
    "context": ("context", "tokens"),
    "max_memory": ("memory ≤", "6GB"),
    "max_size": ("size ≤", "100MB"),
    "min_speed": ("speed ≥", "tok/s"),
}


def _choice(label: str, name: str, values: Sequence[str]) -> ComposeResult:
    """A labelled field that takes one of `values`, the first at the start."""
    with Vertical():
        yield Label(label)
        yield Select([(value, value) for value in values], allow_blank=False, compact=True, id=name)


class ConstraintsForm(Vertical):
    """Posts Changed when what was typed makes new constraints, a moment after the last key."""

    @dataclass
    class Changed(Message):
        constraints: Constraints

    def __init__(self) -> None:
        super().__init__()
        self._pending: Timer | None = None

    def compose(self) -> ComposeResult:
        with Horizontal(id="fields"):
            yield from _choice("task", "task", TASKS)
            for name, (label, placeholder) in FIELDS.items():
                with Vertical():
                    yield Label(label)
                    yield Input(placeholder=placeholder, compact=True, id=name)
            yield from _choice("KV cache", "kv_type", KV_TYPES)
        yield Notice("form-notice")

    def on_input_changed(self) -> None:
        self._wait()

    def on_select_changed(self) -> None:
        self._wait()

    def _wait(self) -> None:
        if self._pending:
            self._pending.stop()
        self._pending = self.set_timer(DEBOUNCE_SECONDS, self.read)

    def read(self) -> None:
        """Post what the fields say, or show what is wrong with them."""
        from edgecomp.common.errors import EdgecompError

        notice = self.query_one("#form-notice", Notice)
        try:
            constraints = self._constraints()
        except (EdgecompError, ValueError) as error:
            notice.say("error", str(error))
            return
        notice.hide()
        self.post_message(self.Changed(constraints))

    def _constraints(self) -> Constraints:
        from pydantic import ValidationError

        from edgecomp.common.quantity import parse_size
        from edgecomp.recipes.constraints import Constraints

        typed = {name: self.query_one(f"#{name}", Input).value.strip() for name in FIELDS}
        sizes = {
            name: parse_size(typed[name]) if typed[name] else None
            for name in ("max_memory", "max_size")
        }
        try:
            return Constraints.model_validate(
                {
                    "task": self.query_one("#task", Select).value,
                    "context": typed["context"] or None,
                    "max_memory_bytes": sizes["max_memory"],
                    "max_size_bytes": sizes["max_size"],
                    "min_decode_tokens_per_second": typed["min_speed"] or None,
                    "kv_type": self.query_one("#kv_type", Select).value,
                }
            )
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0]).removesuffix("_bytes").replace("_", " ")
            raise ValueError(f"{name}: {first['msg']}.") from error
