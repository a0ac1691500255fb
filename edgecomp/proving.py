"""Prove a run's artifact in its runtime: divergence, coherence, answers, speed and memory."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from edgecomp.detect import cpu_model
from edgecomp.evaluate.coherence import Coherence, answer_fixed_prompts, check_coherence
from edgecomp.evaluate.divergence import DivergenceSummary, summarise
from edgecomp.evaluate.evaluate import evaluate
from edgecomp.evaluate.items import Item, ItemResult
from edgecomp.events import Progress, Warned
from edgecomp.making import Artifact
from edgecomp.measure.latency import Measurement, summarise_measurement
from edgecomp.measure.machine import machine_state
from edgecomp.pipeline import Run, StoredFile, text_digest
from edgecomp.runtimes.settings import RunSettings
from edgecomp.value import Value

Who = Literal["base", "artifact"]
DIVERGENCE_OUTPUTS = 64
"""Rows of logits compared at a time: a few megabytes of a large vocabulary."""


class Answers(Value):
    """What one file answered."""

    results: tuple[ItemResult, ...]


def divergence(run: Run, artifact: Artifact, text: str) -> DivergenceSummary:
    """How far the artifact's predictions are from the base's on `text`."""
    evaluation = run.recipe.evaluation
    settings = RunSettings(
        context=evaluation.window_tokens,
        outputs=DIVERGENCE_OUTPUTS,
        threads=run.threads,
        kv_type=run.recipe.settings.kv_type,
    )

    def work(folder: Path, progress: Progress) -> DivergenceSummary:
        samples = run.runtime.compare(
            artifact.base.path,
            artifact.file.path,
            settings,
            text,
            window=evaluation.window_tokens,
            windows=evaluation.windows,
            progress=progress,
        )
        return summarise(samples)

    inputs = {
        "base": artifact.base.sha256,
        "artifact": artifact.file.sha256,
        "settings": settings.model_dump(),
        "text": text_digest(text),
        "windows": [evaluation.window_tokens, evaluation.windows],
    }
    return run.stage(
        "divergence", "Comparing predictions with the base", DivergenceSummary, inputs, work
    )


def coherence(run: Run, artifact: Artifact, divergence: DivergenceSummary) -> Coherence:
    """Whether the artifact still writes text; asked before the long evaluation."""
    settings = {who: _answer_settings(run, who) for who in ("base", "artifact")}

    def work(folder: Path, progress: Progress) -> Coherence:
        base, written = (
            answer_fixed_prompts(run.runtime, file.path, settings[who], run.template, progress)
            for who, file in (("base", artifact.base), ("artifact", artifact.file))
        )
        return check_coherence(written, base, divergence)

    inputs = {
        "base": artifact.base.sha256,
        "artifact": artifact.file.sha256,
        "kv_type": run.recipe.settings.kv_type,
    }
    return run.stage("coherence", "Reading what the artifact writes", Coherence, inputs, work)


def answers(run: Run, file: StoredFile, items: tuple[Item, ...], who: Who) -> Answers:
    """What one file answers to `items`."""
    settings = _answer_settings(run, who)

    def work(folder: Path, progress: Progress) -> Answers:
        results = evaluate(
            run.runtime,
            file.path,
            settings,
            items,
            run.template,
            answers_path=folder / "answers.jsonl",
            progress=progress,
        )
        return Answers(results=results)

    inputs = {
        "file": file.sha256,
        "settings": settings.model_dump(),
        "items": [item.fingerprint for item in items],
    }
    return run.stage(
        f"answers-{who}", f"Asking the {who} {len(items)} questions", Answers, inputs, work
    )


def measurement(run: Run, artifact: Artifact, text: str) -> Measurement:
    """Speed and memory on this machine with the plan's settings, in a fresh process."""
    wanted = run.recipe.measurement
    settings = run.recipe.settings.model_copy(update={"threads": run.threads})
    room = settings.context - wanted.decode_tokens - 1
    depths = sorted({min(depth, room) for depth in (128, 512, room)})

    def work(folder: Path, progress: Progress) -> Measurement:
        before = machine_state()
        raw = run.runtime.measure(
            artifact.file.path,
            settings,
            text,
            depths=depths,
            decode_tokens=wanted.decode_tokens,
            repeats=wanted.repeats,
            progress=progress,
        )
        return summarise_measurement(raw, settings, run.runtime.name, before)

    inputs = {
        "artifact": artifact.file.sha256,
        "settings": settings.model_dump(),
        "measurement": wanted.model_dump(),
        "machine": cpu_model(),
    }
    title = "Measuring speed and memory"
    made = run.stage("measurement", title, Measurement, inputs, work)
    if made.machine.busy:
        load = made.machine.load_before or 0.0
        run.listen(Warned(text=f"The machine was busy (load {load:.1f}) when speed was measured."))
    return made


def _answer_settings(run: Run, who: Who) -> RunSettings:
    """Several sequences at once: a question's choices, or several answers.

    The artifact's KV cache is the one it ships with; the base's is exact.
    """
    kv_type = run.recipe.settings.kv_type if who == "artifact" else "F16"
    return RunSettings(
        context=8192,
        sequences=8,
        outputs=DIVERGENCE_OUTPUTS,
        threads=run.threads,
        kv_type=kv_type,
    )
