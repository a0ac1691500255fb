"""Speed and memory as onnxruntime-genai's own `model_benchmark` measures them, where no Python
runs: on a phone.

What it prints is read as its source writes it (benchmark/c/main.cpp): a block of lines a quantity,
and the peak memory last, whose line was worded otherwise before.
"""

from __future__ import annotations

import re
from typing import Literal

from edgecomp.common.errors import RemoteFailed
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.recipes.run_settings import RunSettings

PROMPT_TOKENS, OUTPUT_TOKENS, REPEATS = 512, 128, 5
HEAD = re.compile(r"Batch size: (\d+), prompt tokens: (\d+), tokens to generate: (\d+)")
PEAK = re.compile(r"Peak working set size(?: \(bytes\))?: (\d+)")
BLOCKS = {
    "Prompt processing (time to first token)": "read a prompt",
    "Token generation": "write",
}
LINES = {"avg (us)": "mean", "p50 (us)": "median", "stddev (us)": "deviation", "n": "repeats"}


class GenaiSpeed(FrozenModel):
    """One quantity, repeated: a prompt that is read, or one token that is written."""

    test: Literal["read a prompt", "write"]
    tokens: int
    """How many are read, or written, in one measurement."""

    mean_seconds: float
    median_seconds: float
    deviation_seconds: float
    repeats: int

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.mean_seconds


class GenaiBench(FrozenModel):
    """What model_benchmark says of one artifact: one sequence, without a server's load."""

    schema_version: Literal[1] = 1
    artifact: str
    artifact_bytes: int
    device: str
    """The address it was reached by."""

    provider: str
    """The execution provider that its configuration names."""

    runtime: str = "onnxruntime-genai"
    settings: RunSettings | None
    """The recipe's; None where the artifact has no recipe and its own configuration holds."""

    output_tokens: int
    speeds: tuple[GenaiSpeed, ...]
    peak_memory_bytes: int


class BenchedArtifact(FrozenModel):
    """What was measured, and where."""

    artifact: str
    artifact_bytes: int
    device: str
    provider: str
    settings: RunSettings | None


def genai_arguments(folder: str, settings: RunSettings | None) -> list[str]:
    """model_benchmark's arguments: a prompt and an output of usual lengths, within the context."""
    context = settings.context if settings else PROMPT_TOKENS + OUTPUT_TOKENS
    output = min(OUTPUT_TOKENS, context // 2)
    return [
        "-i", folder,
        "-l", str(min(PROMPT_TOKENS, context - output)),
        "-g", str(output),
        "-r", str(REPEATS),
        "-ml", str(context),
    ]  # fmt: skip


def read_genai(output: str, measured: BenchedArtifact) -> GenaiBench:
    """The value of model_benchmark's output. Raises RemoteFailed where a part of it is missing."""
    head, peak = HEAD.search(output), PEAK.search(output)
    blocks = {test: _block(output, title) for title, test in BLOCKS.items()}
    if not head or not peak or not all(blocks.values()):
        raise RemoteFailed(
            f"model_benchmark on {measured.device} printed no figures that can be read: "
            f"{output.strip()[-200:] or 'nothing'}. Give a newer build of onnxruntime-genai."
        )
    batch, prompt, written = (int(number) for number in head.groups())
    return GenaiBench(
        **measured.model_dump(),
        output_tokens=written,
        speeds=(
            _speed("read a prompt", batch * prompt, blocks["read a prompt"]),
            _speed("write", batch, blocks["write"]),
        ),
        peak_memory_bytes=int(peak[1]),
    )


def _block(output: str, title: str) -> dict[str, float]:
    """The numbers below a title, by their names in LINES; empty where one is not there."""
    begin = output.find(f"{title}:")
    if begin < 0:
        return {}
    found = {}
    for line in output[begin:].splitlines()[1:]:
        name, _, value = (part.strip() for part in line.partition(":"))
        number = re.match(r"[\d.]+(?:e[+-]?\d+)?", value)
        if not number or not line[:1].isspace():
            break
        if name in LINES:
            found[LINES[name]] = float(number[0])
    return found if len(found) == len(LINES) else {}


def _speed(
    test: Literal["read a prompt", "write"], tokens: int, block: dict[str, float]
) -> GenaiSpeed:
    return GenaiSpeed(
        test=test,
        tokens=tokens,
        mean_seconds=block["mean"] / 1e6,
        median_seconds=block["median"] / 1e6,
        deviation_seconds=block["deviation"] / 1e6,
        repeats=int(block["repeats"]),
    )
