"""Prove a file in its runtime: divergence, coherence, answers, speed and memory, as cached stages.

`fit` proves what it made beside the float file that it was made from; `evaluate` whatever it is
given.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from edgecomp.checks.artifact_checks import CheckResult
from edgecomp.checks.token_id_check import same_token_ids
from edgecomp.common.digests import path_digest, text_digest
from edgecomp.common.errors import DiskFull, RunBusy
from edgecomp.common.events import Listener, Progress, Warned, ignore, ignore_progress
from edgecomp.common.folders import nearest_existing
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.devices.detect import cpu_model
from edgecomp.evaluate.asked_model import AskedModel
from edgecomp.evaluate.coherence import Coherence, answer_fixed_prompts, check_coherence
from edgecomp.evaluate.divergence import DivergenceSummary, summarise
from edgecomp.evaluate.evaluate import evaluate
from edgecomp.evaluate.items import Bucket, Item, ItemResult
from edgecomp.evaluate.task_text import task_texts
from edgecomp.making.artifact import Artifact
from edgecomp.measure.latency import Measurement, summarise_measurement
from edgecomp.measure.machine import machine_state
from edgecomp.models.chat_template import ChatTemplate
from edgecomp.pipeline.run import Run
from edgecomp.pipeline.stage_cache import (
    StageLabel,
    StoredFile,
    growing_folder,
    run_stage,
    stages_folder,
)
from edgecomp.recipes.recipe import EvaluationSettings, MeasurementSettings
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.protocol import Runtime, Timing, Windows, find_runtime

DIVERGENCE_OUTPUTS = 64
"""Rows of logits compared at a time: a few megabytes of a large vocabulary."""

CAPABILITY_WINDOWS, CAPABILITY_WINDOW_TOKENS = 8, 128
"""As long as a question or two: more windows give the better interval."""

ROOM_TO_KEEP_BYTES = 4 * 10**9
"""Free disk without which a base's predictions, 1.3 GB a text at most, are not kept."""

MEASURED_DEPTHS = (128, 512)
Result = TypeVar("Result", bound=FrozenModel)


@dataclass(frozen=True)
class ModelUnderTest:
    """A file on trial, and how it is run."""

    who: Literal["base", "artifact"]
    path: Path
    sha256: str
    runtime: Runtime
    template: ChatTemplate
    threads: int
    listen: Listener
    model: str
    """The name of the model that the file is, or was made from."""

    kv_type: str = "F16"
    """The artifact's KV cache is the one it ships with; the base's is exact."""

    @property
    def answer_settings(self) -> RunSettings:
        """Many sequences at once: several questions with all their choices, or several answers."""
        return RunSettings(
            context=8192,
            sequences=32,
            outputs=DIVERGENCE_OUTPUTS,
            threads=self.threads,
            kv_type=self.kv_type,
        )

    @property
    def asked(self) -> AskedModel:
        return AskedModel(self.runtime, self.path, self.answer_settings, self.template)

    def stage(
        self,
        name: str,
        title: str,
        kind: type[Result],
        inputs: dict[str, Any],
        work: Callable[[Path, Progress], Result],
    ) -> Result:
        """`run_stage` whose key holds the file and what runs it."""
        inputs = {self.who: self.sha256, **self._run_by(), **inputs}
        return run_stage(
            StageLabel(name=name, title=title, model=self.model), kind, inputs, work, self.listen
        )

    def _run_by(self) -> dict[str, Any]:
        return {
            "runtime": [self.runtime.name, self.runtime.version()],
            "threads": self.threads,
            "kv_type": self.kv_type,
        }

    def ask(
        self,
        items: Sequence[Item],
        *,
        allow_code: bool = False,
        progress: Progress = ignore_progress,
    ) -> tuple[ItemResult, ...]:
        """What the file answers. Answers are kept by file, runtime and item: none is asked twice,
        whatever it is compared with."""
        label = StageLabel(name="answers", title="Kept answers", model=self.model)
        folder = growing_folder(label, {"file": self.sha256, **self._run_by()})
        return evaluate(
            self.asked,
            items,
            answers_path=folder / "answers.jsonl",
            allow_code=allow_code,
            progress=progress,
        )


class Answers(FrozenModel):
    """What one file answered."""

    results: tuple[ItemResult, ...]


class BasePredictions(FrozenModel):
    """What a base predicts over a text; None where that would be too much to keep."""

    kept: StoredFile | None


class CapabilityDivergence(FrozenModel):
    """Divergence on the text of each capability's own questions."""

    rows: dict[Bucket, DivergenceSummary]


def same_tokens(base: ModelUnderTest, artifact: ModelUnderTest) -> CheckResult:
    """Whether both, of one runtime, read texts as the same token ids."""

    def work(folder: Path, progress: Progress) -> CheckResult:
        return same_token_ids(artifact.runtime, base.path, artifact.path)

    title, inputs = "Comparing the tokenizers", {"base": base.sha256}
    return artifact.stage("tokenizers", title, CheckResult, inputs, work)


def divergence(
    base: ModelUnderTest, artifact: ModelUnderTest, text: str, wanted: EvaluationSettings
) -> DivergenceSummary:
    """How far the artifact's predictions are from the base's on `text`; both in one runtime."""

    def work(folder: Path, progress: Progress) -> DivergenceSummary:
        found = compare_predictions(
            base, artifact, text, wanted.window_tokens, wanted.windows, progress
        )
        assert found is not None, "the text is shorter than a window"
        return found

    inputs = {
        "base": base.sha256,
        "text": text_digest(text),
        "windows": [wanted.window_tokens, wanted.windows],
    }
    title = "Comparing predictions with the base"
    return artifact.stage("divergence", title, DivergenceSummary, inputs, work)


def divergence_by_capability(
    base: ModelUnderTest, artifact: ModelUnderTest, items: tuple[Item, ...]
) -> dict[Bucket, DivergenceSummary]:
    """The same on some windows of each capability's own questions and right answers; a capability
    whose text does not fill one is left out."""
    texts, window = task_texts(items), CAPABILITY_WINDOW_TOKENS

    def work(folder: Path, progress: Progress) -> CapabilityDivergence:
        rows = {}
        for index, (name, text) in enumerate(texts.items()):
            progress(index, len(texts))
            found = compare_predictions(base, artifact, text, window, CAPABILITY_WINDOWS)
            if found:
                rows[name] = found
        return CapabilityDivergence(rows=rows)

    inputs = {
        "base": base.sha256,
        "texts": {name: text_digest(text) for name, text in texts.items()},
        "windows": [window, CAPABILITY_WINDOWS],
    }
    title = "Comparing predictions on each capability's text"
    stage = "divergence-by-capability"
    return artifact.stage(stage, title, CapabilityDivergence, inputs, work).rows


def compare_predictions(
    base: ModelUnderTest,
    artifact: ModelUnderTest,
    text: str,
    window: int,
    windows: int,
    progress: Progress = ignore_progress,
) -> DivergenceSummary | None:
    """How far the artifact's predictions are from the base's on so many windows of `text`, of
    `window` tokens each; None where the text is shorter than one. The base is read once for all
    artifacts."""
    settings = RunSettings(
        context=window,
        outputs=DIVERGENCE_OUTPUTS,
        threads=artifact.threads,
        kv_type=artifact.kv_type,
    )
    asked = Windows(tokens=window, number=windows)
    # The base is read first, then the artifact: each is half of the work.
    kept = _kept_predictions(
        base, settings, text, asked, lambda done, total: progress(done, 2 * total)
    )
    if kept:
        samples = artifact.runtime.compare_kept(
            kept.path,
            artifact.path,
            settings,
            lambda done, total: progress(total + done, 2 * total),
        )
    else:
        samples = artifact.runtime.compare(
            base.path, artifact.path, settings, text, windows=asked, progress=progress
        )
    return summarise(samples) if samples.kl else None


def _kept_predictions(
    base: ModelUnderTest, settings: RunSettings, text: str, windows: Windows, progress: Progress
) -> StoredFile | None:
    """What the base predicts, read once for all artifacts; None where the disk is short of room,
    where it is too much, and while another process reads the same: the base is then read again."""
    if shutil.disk_usage(nearest_existing(stages_folder())).free < ROOM_TO_KEEP_BYTES:
        return None

    def work(folder: Path, _: Progress) -> BasePredictions:
        path = folder / "predictions"
        if not base.runtime.keep_predictions(
            base.path, settings, text, windows=windows, folder=path, progress=progress
        ):
            return BasePredictions(kept=None)
        return BasePredictions(kept=StoredFile(path=path, sha256=path_digest(path)))

    inputs = {
        "text": text_digest(text),
        "windows": windows,
        "settings": settings.model_dump(exclude={"kv_type"}),
    }
    title = "Keeping what the base predicts"
    # It happens within another stage, which alone is told of.
    quiet = replace(base, listen=ignore)
    try:
        return quiet.stage("base-predictions", title, BasePredictions, inputs, work).kept
    except (DiskFull, RunBusy):
        return None


def coherence(
    base: ModelUnderTest | None, artifact: ModelUnderTest, divergence: DivergenceSummary | None
) -> Coherence:
    """Whether the artifact writes text, beside what its base writes; asked before the long
    evaluation."""

    def work(folder: Path, progress: Progress) -> Coherence:
        written, before = (
            answer_fixed_prompts(one.asked, progress) if one else [] for one in (artifact, base)
        )
        return check_coherence(written, before, divergence)

    inputs = {
        "base": base.sha256 if base else None,
        "divergence": divergence.model_dump() if divergence else None,
    }
    title = "Reading what the artifact writes"
    return artifact.stage("coherence", title, Coherence, inputs, work)


def answers(
    subject: ModelUnderTest, items: tuple[Item, ...], *, allow_code: bool = False
) -> tuple[ItemResult, ...]:
    """What one file answers to `items`."""

    def work(folder: Path, progress: Progress) -> Answers:
        return Answers(results=subject.ask(items, allow_code=allow_code, progress=progress))

    inputs = {"items": [item.fingerprint for item in items]}
    title = f"Asking the {subject.who} {len(items)} questions"
    return subject.stage(f"answers-{subject.who}", title, Answers, inputs, work).results


def measurement(
    subject: ModelUnderTest, settings: RunSettings, text: str, wanted: MeasurementSettings
) -> Measurement:
    """Speed and memory on this machine with `settings`, in a fresh process."""
    settings = settings.model_copy(update={"threads": subject.threads})
    room = settings.context - wanted.decode_tokens - 1
    depths = sorted({min(depth, room) for depth in (*MEASURED_DEPTHS, room)})

    def work(folder: Path, progress: Progress) -> Measurement:
        before = machine_state()
        raw = subject.runtime.measure(
            subject.path,
            settings,
            text,
            Timing(
                depths=tuple(depths), decode_tokens=wanted.decode_tokens, repeats=wanted.repeats
            ),
            progress=progress,
        )
        return summarise_measurement(raw, settings, subject.runtime.name, before)

    inputs = {
        "settings": settings.model_dump(),
        "measurement": wanted.model_dump(),
        "machine": cpu_model(),
    }
    title = f"Measuring speed and memory of the {subject.who}"
    made = subject.stage(f"measurement-{subject.who}", title, Measurement, inputs, work)
    if made.machine.busy:
        load = made.machine.load_before or 0.0
        said = f"The machine was busy (load {load:.1f}) when speed was measured."
        subject.listen(Warned(text=said))
    return made


def evaluation_subjects(run: Run, artifact: Artifact) -> tuple[ModelUnderTest, ModelUnderTest]:
    """The float base and the artifact, as they are run."""

    # What makes a quantized checkpoint is not what runs it.
    runtime = find_runtime(run.recipe.runtime)

    def subject(who: Literal["base", "artifact"], file: StoredFile, kv_type: str) -> ModelUnderTest:
        return ModelUnderTest(
            who, file.path, file.sha256, runtime, run.template, run.threads, run.listen,
            run.model.name, kv_type,
        )  # fmt: skip

    kv_type = run.recipe.settings.kv_type
    return subject("base", artifact.base, "F16"), subject("artifact", artifact.file, kv_type)
