"""What every runtime with a worker process of its own has in common: requests to a fresh worker,
answers as values."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgecomp.common.events import Progress, ignore_progress
from edgecomp.common.package_versions import named_version
from edgecomp.processes.child import Child
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.process_memory import ProcessMemory
from edgecomp.runtimes.protocol import (
    ChoiceScore,
    Completion,
    DivergenceSamples,
    RawMeasurement,
    TimedRun,
    Timing,
    Windows,
)
from edgecomp.runtimes.serving_load import DrawnRequest, RawServing


class WorkerRuntime:
    """A runtime whose worker is the module `worker`. Every call starts one and ends it."""

    name: str
    worker: str
    package: str
    """The distribution whose version is the runtime's."""

    def version(self) -> str:
        return named_version(self.package)

    def tokenize(
        self, artifact: Path, texts: Sequence[str], *, add_special: bool, parse_special: bool
    ) -> list[list[int]]:
        answer: list[list[int]] = self.ask(
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
        *,
        stops: Sequence[Sequence[str]] = (),
    ) -> list[Completion]:
        answer = self.ask(
            "complete",
            progress,
            path=str(artifact),
            settings=settings.model_dump(),
            prompts=list(prompts),
            limits=list(limits),
            stops=[list(row) for row in stops or [()] * len(prompts)],
        )
        return [Completion.model_validate(row) for row in answer]

    def score(
        self,
        artifact: Path,
        settings: RunSettings,
        questions: Sequence[tuple[str, Sequence[str]]],
        progress: Progress = ignore_progress,
    ) -> list[list[ChoiceScore]]:
        answer: list[list[tuple[float, bool]]] = self.ask(
            "score",
            progress,
            path=str(artifact),
            settings=settings.model_dump(),
            questions=[(context, list(choices)) for context, choices in questions],
        )
        return [
            [ChoiceScore(loglikelihood=value, greedy=greedy) for value, greedy in row]
            for row in answer
        ]

    def compare(
        self,
        base: Path,
        artifact: Path,
        settings: RunSettings,
        text: str,
        *,
        windows: Windows,
        progress: Progress = ignore_progress,
    ) -> DivergenceSamples:
        answer = self.ask(
            "compare",
            progress,
            base=str(base),
            artifact=str(artifact),
            settings=settings.model_dump(),
            text=text,
            windows=windows,
        )
        return DivergenceSamples.model_validate(answer)

    def keep_predictions(
        self,
        base: Path,
        settings: RunSettings,
        text: str,
        *,
        windows: Windows,
        folder: Path,
        progress: Progress = ignore_progress,
    ) -> bool:
        kept: bool = self.ask(
            "keep_predictions",
            progress,
            base=str(base),
            settings=settings.model_dump(),
            text=text,
            windows=windows,
            folder=str(folder),
        )
        return kept

    def compare_kept(
        self,
        predictions: Path,
        artifact: Path,
        settings: RunSettings,
        progress: Progress = ignore_progress,
    ) -> DivergenceSamples:
        answer = self.ask(
            "compare_kept",
            progress,
            predictions=str(predictions),
            artifact=str(artifact),
            settings=settings.model_dump(),
        )
        return DivergenceSamples.model_validate(answer)

    def measure(
        self,
        artifact: Path,
        settings: RunSettings,
        text: str,
        timing: Timing,
        *,
        progress: Progress = ignore_progress,
    ) -> RawMeasurement:
        with Child(self.worker, spin=True) as child:
            answer = child.call(
                "measure",
                progress,
                path=str(artifact),
                settings=settings.model_dump(),
                text=text,
                timing=timing.model_dump(),
            )
            log = child.log_text()
        buffers = answer["buffer_bytes"] or self.reported_buffers(log)
        devices = self.reported_devices(log)
        return RawMeasurement.model_validate(
            {**answer, "buffer_bytes": buffers, "device_bytes": devices}
        )

    def time_decode(
        self, artifact: Path, settings: RunSettings, timing: Timing
    ) -> list[list[TimedRun]]:
        """Timings [depths][repeats] of a model without a vocabulary."""
        with Child(self.worker, spin=True) as child:
            answer = child.call(
                "time_decode",
                path=str(artifact),
                settings=settings.model_dump(),
                timing=timing.model_dump(),
            )
        return [
            [TimedRun.model_validate({"tokenize_seconds": 0.0, **run}) for run in runs]
            for runs in answer
        ]

    def notes(self, artifact: Path) -> tuple[str, ...]:
        return ()

    def reported_buffers(self, log: str) -> dict[str, int]:
        """Bytes of each kind of buffer that the worker's log tells of."""
        return {}

    def reported_devices(self, log: str) -> dict[str, int]:
        """Bytes of all buffers on each device that the worker's log tells of."""
        return {}

    def measure_idle(self) -> ProcessMemory:
        """The memory of a worker before any model is loaded."""
        return ProcessMemory.model_validate(self.ask("idle_memory"))

    def ask(self, request: str, progress: Progress = ignore_progress, **arguments: Any) -> Any:
        """One request to a fresh worker."""
        with Child(self.worker) as child:
            return child.call(request, progress, **arguments)


class ServingRuntime(WorkerRuntime):
    """A runtime whose worker serves many requests at a time."""

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
        with Child(self.worker, spin=True) as child:
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
