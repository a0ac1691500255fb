"""llama.cpp as a runtime: requests to a fresh worker process, answers as values."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgecomp.events import Progress, ignore_progress
from edgecomp.measure.process_memory import ProcessMemory
from edgecomp.measure.serving_load import DrawnRequest, RawServing
from edgecomp.runtimes.child import Child
from edgecomp.runtimes.protocol import Completion, DivergenceSamples, RawMeasurement, TimedRun
from edgecomp.runtimes.settings import RunSettings

WORKER = "edgecomp.runtimes.llama_cpp"
BUFFER = re.compile(r"\S+ +(model|KV|compute|output) +buffer size = +([\d.]+) MiB")


class LlamaCpp:
    """The runtime `llama.cpp`. Every call starts a worker of its own and ends it."""

    name = "llama.cpp"

    def version(self) -> str:
        return f"llama-cpp-python {importlib.metadata.version('llama-cpp-python')}"

    def tokenize(
        self, artifact: Path, texts: Sequence[str], *, add_special: bool, parse_special: bool
    ) -> list[list[int]]:
        answer: list[list[int]] = _ask(
            "tokenize",
            path=str(artifact),
            texts=list(texts),
            add_special=add_special,
            parse_special=parse_special,
        )
        return answer

    def complete(
        self,
        artifact: Path,
        settings: RunSettings,
        prompts: Sequence[str],
        limits: Sequence[int],
        progress: Progress = ignore_progress,
    ) -> list[Completion]:
        answer = _ask(
            "complete",
            progress,
            path=str(artifact),
            settings=settings.model_dump(),
            prompts=list(prompts),
            limits=list(limits),
        )
        return [Completion.model_validate(row) for row in answer]

    def score(
        self,
        artifact: Path,
        settings: RunSettings,
        questions: Sequence[tuple[str, Sequence[str]]],
        progress: Progress = ignore_progress,
    ) -> list[list[float]]:
        answer: list[list[float]] = _ask(
            "score",
            progress,
            path=str(artifact),
            settings=settings.model_dump(),
            questions=[(context, list(choices)) for context, choices in questions],
        )
        return answer

    def compare(
        self,
        base: Path,
        artifact: Path,
        settings: RunSettings,
        text: str,
        *,
        window: int,
        windows: int,
        progress: Progress = ignore_progress,
    ) -> DivergenceSamples:
        answer = _ask(
            "compare",
            progress,
            base=str(base),
            artifact=str(artifact),
            settings=settings.model_dump(),
            text=text,
            window=window,
            windows=windows,
        )
        return DivergenceSamples.model_validate(answer)

    def measure(
        self,
        artifact: Path,
        settings: RunSettings,
        text: str,
        *,
        depths: Sequence[int],
        decode_tokens: int,
        repeats: int,
        progress: Progress = ignore_progress,
    ) -> RawMeasurement:
        with Child(WORKER, spin=True) as child:
            answer = child.call(
                "measure",
                progress,
                path=str(artifact),
                settings=settings.model_dump(),
                text=text,
                depths=list(depths),
                decode_tokens=decode_tokens,
                repeats=repeats,
            )
            buffers = reported_buffers(child.log_text())
        return RawMeasurement.model_validate({**answer, "buffer_bytes": buffers})

    def quantize(
        self,
        source: Path,
        destination: Path,
        preset: str,
        *,
        threads: int,
        overrides: Mapping[str, str],
        importance: Path | None,
        progress: Progress = ignore_progress,
    ) -> None:
        """Quantize a GGUF by llama.cpp's own quantizer; `overrides` maps tensor names to types."""
        _ask(
            "quantize",
            progress,
            source=str(source),
            destination=str(destination),
            preset=preset,
            threads=threads,
            overrides=dict(overrides),
            importance=str(importance) if importance else None,
        )

    def pace(
        self,
        artifact: Path,
        settings: RunSettings,
        *,
        depths: Sequence[int],
        decode_tokens: int,
        repeats: int,
    ) -> list[list[TimedRun]]:
        """Timings [depths][repeats] of a model without a vocabulary."""
        with Child(WORKER, spin=True) as child:
            answer = child.call(
                "pace",
                path=str(artifact),
                settings=settings.model_dump(),
                depths=list(depths),
                decode_tokens=decode_tokens,
                repeats=repeats,
            )
        return [
            [TimedRun.model_validate({"tokenize_seconds": 0.0, **run}) for run in runs]
            for runs in answer
        ]

    def serve(
        self,
        artifact: Path,
        settings: RunSettings,
        text: str,
        requests: Sequence[DrawnRequest],
        *,
        seconds: float | None,
        progress: Progress = ignore_progress,
    ) -> RawServing:
        """Serve `requests`, whose prompts are cut from `text`, with continuous batching in a fresh
        process; for `seconds`, round and round, where they are given."""
        with Child(WORKER, spin=True) as child:
            answer = child.call(
                "serve",
                progress,
                path=str(artifact),
                settings=settings.model_dump(),
                text=text,
                requests=[request.model_dump() for request in requests],
                seconds=seconds,
            )
        return RawServing.model_validate(answer)

    def measure_idle(self) -> ProcessMemory:
        """The memory of a worker before any model is loaded."""
        return ProcessMemory.model_validate(_ask("idle_memory"))

    def buffers(
        self, artifact: Path, settings: RunSettings, *, allocate: bool = True
    ) -> dict[str, int]:
        """Bytes of each kind of buffer as llama.cpp reports them, to a hundredth of a MiB.

        Without `allocate` the memory is not taken; weights and KV cache are then reported as 0.
        """
        with Child(WORKER) as child:
            child.call(
                "buffer_sizes",
                path=str(artifact),
                settings=settings.model_dump(),
                allocate=allocate,
            )
            return reported_buffers(child.log_text())


def reported_buffers(log: str) -> dict[str, int]:
    """Bytes of weights, KV cache, compute and output buffers, summed over devices, from a log."""
    totals: dict[str, int] = {}
    for kind, mebibytes in BUFFER.findall(log):
        name = {"model": "weights", "KV": "kv"}.get(kind, kind)
        totals[name] = totals.get(name, 0) + round(float(mebibytes) * 2**20)
    return totals


def _ask(request: str, progress: Progress = ignore_progress, **arguments: Any) -> Any:
    with Child(WORKER) as child:
        return child.call(request, progress, **arguments)
