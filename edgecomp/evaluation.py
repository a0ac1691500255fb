"""Evaluate an artifact as it is shipped: alone, or beside the base it came from.

With a base the order is from cheap to dear: tokenizers, divergence, a look at what it writes; only
an artifact that writes text is asked the long list of questions (R102, R103). Every step is a
cached stage, so a run that was stopped goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from edgecomp.artifact_argument import NamedArtifact, find_artifact
from edgecomp.artifact_checks import CheckResult, check_same_ids, check_token_ids
from edgecomp.chat_template import read_chat_template
from edgecomp.detect import cpu_model, physical_cores
from edgecomp.errors import EvidenceTooNarrow, RuntimeRefused, TaskUnavailable
from edgecomp.evaluate.benchmarks import Coverage, Suite, coverage
from edgecomp.evaluate.bias_score import BiasScores, bias_scores
from edgecomp.evaluate.coherence import Coherence, answer_fixed_prompts, check_coherence
from edgecomp.evaluate.comparison import Comparison, compare_results
from edgecomp.evaluate.divergence import DivergenceSummary, summarise
from edgecomp.evaluate.evaluate import evaluate
from edgecomp.evaluate.harness_tasks import HarnessTask, run_task
from edgecomp.evaluate.items import Category, Item, ItemResult
from edgecomp.evaluate.scores import Score, scores_by_benchmark, scores_by_category
from edgecomp.evaluate.selection import Selection, Skipped, select_suite, select_tasks
from edgecomp.events import Listener, Progress, Warned
from edgecomp.fit import evaluation_text, versions
from edgecomp.measure.latency import Measurement, summarise_measurement
from edgecomp.measure.machine import machine_state
from edgecomp.model import read_model
from edgecomp.pipeline import artifact_digest, path_bytes, text_digest
from edgecomp.proving import DIVERGENCE_OUTPUTS, Answers
from edgecomp.recipe import EvaluationSettings, MeasurementSettings
from edgecomp.runtimes.protocol import find_runtime
from edgecomp.runtimes.settings import RunSettings
from edgecomp.stage_cache import run_stage
from edgecomp.tasks import Task
from edgecomp.value import Value
from edgecomp.verdict import Efficiency, Evidence, Verdict, judge

MEASURED_DEPTHS, MEASURED_CONTEXT = (128, 512), 1024


class EvaluationRequest(Value):
    """What to evaluate, on what."""

    artifact: str
    """A GGUF file, a bundle or `demo`."""

    base: str | None = None
    data: Path | None = None
    tasks: tuple[str, ...] = ()
    """Benchmarks by name; empty: those of the suite."""

    suite: Suite = "quick"
    limit: int | None = None
    allow_code: bool = False
    task: Task = "general"


class Evaluation(Value):
    """What an evaluation found. Without a base there is nothing to compare and no verdict."""

    schema_version: Literal[1] = 1
    request: EvaluationRequest
    artifact_sha256: str
    base_sha256: str | None
    divergence: DivergenceSummary | None
    coherence: Coherence
    scores: tuple[Score, ...]
    """By category."""

    benchmarks: tuple[Score, ...]
    bias: BiasScores | None
    comparison: Comparison | None
    efficiency: Efficiency | None
    verdict: Verdict | None
    coverage: Coverage
    skipped: tuple[Skipped, ...]
    notices: tuple[str, ...]
    versions: dict[str, str]


def evaluate_artifact(request: EvaluationRequest, listen: Listener) -> Evaluation:
    """Evaluate as `request` says.

    What is missing or not allowed is refused before any work: ModelNotFound, DataMissing,
    DataMalformed, TaskUnavailable, CodeNotAllowed, RuntimeRefused for a base of another kind. An
    artifact that writes garbage is not an error: its evaluation ends early and says so.
    """
    artifact = find_artifact(request.artifact)
    base = find_artifact(request.base) if request.base else None
    if base and base.runtime != artifact.runtime:
        raise RuntimeRefused(
            f"{request.base} runs in {base.runtime} and {request.artifact} in {artifact.runtime}: "
            "their logits cannot be compared in one process. Give a base of the same kind."
        )
    selection = (
        select_tasks(request.tasks, request.data, request.limit, request.allow_code)
        if request.tasks
        else select_suite(request.suite, request.data, request.limit, request.allow_code)
    )
    found = _Examination(request, artifact, base, selection, listen)
    for text in selection.notices:
        found.say(text)
    return found.beside_base(base) if base else found.alone()


class _Examination:
    """One evaluation on its way: the artifact, the questions, the stages."""

    def __init__(
        self,
        request: EvaluationRequest,
        artifact: NamedArtifact,
        base: NamedArtifact | None,
        selection: Selection,
        listen: Listener,
    ) -> None:
        self.request = request
        self.artifact = artifact
        self.base = base
        self.selection = selection
        self.listen = listen
        self.runtime = find_runtime(artifact.runtime)
        self.threads = physical_cores()
        self.skipped = list(selection.skipped)
        self.notices: list[str] = []

    def say(self, text: str) -> None:
        self.notices.append(text)
        self.listen(Warned(text=text))

    def stage(
        self, name: str, title: str, kind: Any, inputs: dict[str, Any], work: Callable[..., Any]
    ) -> Any:
        inputs = {"runtime": self.runtime.version(), "threads": self.threads, **inputs}
        return run_stage(name, title, kind, inputs, work, self.listen)

    def alone(self) -> Evaluation:
        """Scores of the artifact, unless it writes garbage."""
        coherence = self.coherence(None, None)
        results = self.answers(self.artifact, "artifact") if coherence.coherent else ()
        return self.evaluation(coherence, None, results, None, None, None)

    def beside_base(self, base: NamedArtifact) -> Evaluation:
        """The artifact against its base, and the verdict."""
        divergence = self.divergence(base)
        coherence = self.coherence(base, divergence)
        results: tuple[ItemResult, ...] = ()
        comparison, efficiency = Comparison(categories=()), None
        if coherence.coherent:
            before = self.answers(base, "base")
            results = self.answers(self.artifact, "artifact")
            comparison = compare_results(before, results)
            efficiency = self.efficiency(base)
        recipe = self.artifact.recipe
        verdict = judge(
            Evidence(
                task=self.request.task,
                comparison=comparison,
                divergence=divergence,
                coherence=coherence,
                efficiency=efficiency,
                bits=self.artifact.bits_per_weight,
                calibration=recipe.calibration if recipe and recipe.importance else None,
            )
        )
        return self.evaluation(coherence, divergence, results, comparison, efficiency, verdict)

    def evaluation(
        self,
        coherence: Coherence,
        divergence: DivergenceSummary | None,
        results: tuple[ItemResult, ...],
        comparison: Comparison | None,
        efficiency: Efficiency | None,
        verdict: Verdict | None,
    ) -> Evaluation:
        if not coherence.coherent:
            marks = ", ".join(sorted({row.mark for row in coherence.findings}))
            self.say(f"The artifact writes garbage ({marks}), so it was asked nothing more.")
        seen: list[tuple[Category, str]] = [(row.category, row.benchmark) for row in results]
        if any(row.toxic is not None for row in results):
            seen.append(("toxicity", "written answers by lexicon"))
        covered = coverage(seen)
        return Evaluation(
            request=self.request,
            artifact_sha256=artifact_digest(self.artifact.path),
            base_sha256=artifact_digest(self.base.path) if self.base else None,
            divergence=divergence,
            coherence=coherence,
            scores=scores_by_category(results),
            benchmarks=scores_by_benchmark(results),
            bias=bias_scores(results),
            comparison=comparison,
            efficiency=efficiency,
            verdict=verdict,
            coverage=covered,
            skipped=tuple(self.skipped),
            notices=(*self.notices, *(covered.warnings if results else ())),
            versions=versions(),
        )

    def divergence(self, base: NamedArtifact) -> DivergenceSummary | None:
        """Divergence from the base; None, and said, where the tokenizers differ."""
        files = {
            "base": artifact_digest(base.path),
            "artifact": artifact_digest(self.artifact.path),
        }

        def compare_tokenizers(folder: Path, progress: Progress) -> CheckResult:
            if base.runtime == "onnx":
                return check_same_ids(base.path, self.artifact.path, self.runtime)
            return check_token_ids(read_model(base.path), self.artifact.path, self.runtime)

        same: CheckResult = self.stage(
            "tokenizers", "Comparing the tokenizers", CheckResult, files, compare_tokenizers
        )
        if not same.passed:
            self.say(f"No divergence: base and artifact have different tokenizers ({same.detail}).")
            return None
        wanted = EvaluationSettings()
        text = evaluation_text(self.request.data)
        settings = RunSettings(
            context=wanted.window_tokens, outputs=DIVERGENCE_OUTPUTS, threads=self.threads
        )

        def work(folder: Path, progress: Progress) -> DivergenceSummary:
            samples = self.runtime.compare(
                base.path,
                self.artifact.path,
                settings,
                text,
                window=wanted.window_tokens,
                windows=wanted.windows,
                progress=progress,
            )
            return summarise(samples)

        inputs = {**files, "text": text_digest(text), "settings": wanted.model_dump()}
        found: DivergenceSummary = self.stage(
            "divergence", "Comparing predictions with the base", DivergenceSummary, inputs, work
        )
        return found

    def coherence(
        self, base: NamedArtifact | None, divergence: DivergenceSummary | None
    ) -> Coherence:
        """Whether the artifact writes text, judged beside what its base writes."""

        def work(folder: Path, progress: Progress) -> Coherence:
            written = [
                answer_fixed_prompts(
                    self.runtime,
                    named.path,
                    self.answer_settings(),
                    read_chat_template(named.path),
                    progress,
                )
                for named in (self.artifact, base)
                if named is not None
            ]
            return check_coherence(written[0], written[1] if base else (), divergence)

        inputs = {
            "artifact": artifact_digest(self.artifact.path),
            "base": artifact_digest(base.path) if base else None,
            "divergence": divergence.model_dump() if divergence else None,
        }
        found: Coherence = self.stage(
            "coherence", "Reading what the artifact writes", Coherence, inputs, work
        )
        return found

    def answers(self, named: NamedArtifact, who: str) -> tuple[ItemResult, ...]:
        """What one file answers: to the items, then to each lm-eval task that can be run."""
        results: list[ItemResult] = []
        if self.selection.items:
            results += self.own_answers(named, who, self.selection.items)
        for task in self.selection.harness:
            if any(row.name == task.name for row in self.skipped):
                continue
            try:
                results += self.harness_answers(named, who, task)
            except TaskUnavailable as error:
                # Named tasks are wanted without fail; of a suite, what can be run is run.
                if self.request.tasks:
                    raise
                self.skipped.append(Skipped(name=task.name, reason=str(error)))
        if not results:
            reasons = " ".join(f"{row.name}: {row.reason}." for row in self.skipped[:3])
            raise EvidenceTooNarrow(f"None of the benchmarks asked for could be run. {reasons}")
        return tuple(results)

    def own_answers(
        self, named: NamedArtifact, who: str, items: tuple[Item, ...]
    ) -> tuple[ItemResult, ...]:
        def work(folder: Path, progress: Progress) -> Answers:
            results = evaluate(
                self.runtime,
                named.path,
                self.answer_settings(),
                items,
                read_chat_template(named.path),
                answers_path=folder / "answers.jsonl",
                allow_code=self.request.allow_code,
                progress=progress,
            )
            return Answers(results=results)

        inputs = {
            "file": artifact_digest(named.path),
            "settings": self.answer_settings().model_dump(),
            "items": [item.fingerprint for item in items],
        }
        title = f"Asking the {who} {len(items)} questions"
        found: Answers = self.stage(f"answers-{who}", title, Answers, inputs, work)
        return found.results

    def harness_answers(
        self, named: NamedArtifact, who: str, task: HarnessTask
    ) -> tuple[ItemResult, ...]:
        def work(folder: Path, progress: Progress) -> Answers:
            results = run_task(
                self.runtime,
                named.path,
                self.answer_settings(),
                read_chat_template(named.path),
                task,
                self.selection.limit,
            )
            return Answers(results=results)

        inputs = {
            "file": artifact_digest(named.path),
            "settings": self.answer_settings().model_dump(),
            "task": task.model_dump(),
            "limit": self.selection.limit,
        }
        title = f"Asking the {who} {task.name} through lm-eval"
        found: Answers = self.stage(f"harness-{who}", title, Answers, inputs, work)
        return found.results

    def efficiency(self, base: NamedArtifact) -> Efficiency:
        """Speed and memory of both files, measured (R47): sizes alone are none."""
        before, after = self.measurement(base, "base"), self.measurement(self.artifact, "artifact")
        depth = MEASURED_DEPTHS[-1]
        return Efficiency(
            base_bytes=path_bytes(base.path),
            artifact_bytes=path_bytes(self.artifact.path),
            decode_tokens_per_second=after.at(depth).decode_tokens_per_second.median,
            peak_memory_bytes=after.peak_memory_bytes,
            base_decode_tokens_per_second=before.at(depth).decode_tokens_per_second.median,
        )

    def measurement(self, named: NamedArtifact, who: str) -> Measurement:
        wanted = MeasurementSettings()
        settings = RunSettings(context=MEASURED_CONTEXT, threads=self.threads)

        def work(folder: Path, progress: Progress) -> Measurement:
            before = machine_state()
            raw = self.runtime.measure(
                named.path,
                settings,
                evaluation_text(None),
                depths=MEASURED_DEPTHS,
                decode_tokens=wanted.decode_tokens,
                repeats=wanted.repeats,
                progress=progress,
            )
            return summarise_measurement(raw, settings, self.runtime.name, before)

        inputs = {
            "file": artifact_digest(named.path),
            "settings": settings.model_dump(),
            "measurement": wanted.model_dump(),
            "machine": cpu_model(),
        }
        title = f"Measuring speed and memory of the {who}"
        found: Measurement = self.stage(f"measurement-{who}", title, Measurement, inputs, work)
        return found

    def answer_settings(self) -> RunSettings:
        """Several sequences at once: a question's choices, or several answers."""
        return RunSettings(
            context=8192, sequences=8, outputs=DIVERGENCE_OUTPUTS, threads=self.threads
        )
