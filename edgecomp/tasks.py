"""The capability that counts first for the user (R25); light enough for the command line."""

from __future__ import annotations

from typing import Literal

Task = Literal["general", "knowledge", "reasoning", "multilingual", "instruction", "code", "safety"]
TASKS: tuple[Task, ...] = (
    "general", "knowledge", "reasoning", "multilingual", "instruction", "code", "safety",
)  # fmt: skip
