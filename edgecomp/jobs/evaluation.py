"""Evaluate an artifact as it is shipped: alone, or beside the base it came from.

With a base the order is from cheap to dear: tokenizers, divergence, a look at what it writes; only
an artifact that writes text is asked the long list of questions (R102, R103). Every step is a
cached stage, so a run that was stopped goes on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from edgecomp.bundles.artifact_argument import NamedArtifact, find_artifact
from edgecomp.bundles.versions import versions
from edgecomp.common.digests import path_digest
from edgecomp.common.errors import EvidenceTooNarrow, TaskUnavailable
from edgecomp.common.events import Listener, Progress, Warned
from edgecomp.common.folders import path_bytes
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.common.machine_limits import physical_cores
from edgecomp.common.tasks import Task
from edgecomp.evaluate.benchmarks import Coverage, Suite, coverage
from edgecomp.evaluate.bias_score import BiasScores, bias_scores
from edgecomp.evaluate.coherence import Coherence
from edgecomp.evaluate.comparison import Comparison, QuestionSets, compare_results
from edgecomp.evaluate.divergence import DivergenceSummary
from edgecomp.evaluate.harness_tasks import HarnessTask, run_task
from edgecomp.evaluate.items import Bucket, Category, ItemResult
from edgecomp.evaluate.questions import evaluation_text
from edgecomp.evaluate.scores import Score, scores_by_benchmark, scores_by_category
from edgecomp.evaluate.selection import (
    SUITE_SECONDS,
    Selection,
    Skipped,
    select_suite,
    select_tasks,
)
from edgecomp.jobs import evaluation_stages as evaluation_stages
from edgecomp.jobs.asking import Asking, ask_until_decided
from edgecomp.jobs.evaluation_stages import Answers, ModelUnderTest
from edgecomp.judging.verdict import Efficiency, Evidence, Verdict, judge, repeats_base
from edgecomp.models.chat_template import read_chat_template
from edgecomp.pipeline.early_checks import check_cache, check_template
from edgecomp.recipes.recipe import (
    EvaluationSettings,
    MeasurementSettings,
    method_of,
    sparsity_percent,
)
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.recipes.tolerances import Tolerances
from edgecomp.runtimes.protocol import find_runtime


class Examination(FrozenModel):
    """How a file is examined, whichever it is."""

    data: Path | None = None
    tasks: tuple[str, ...] = ()
    """Benchmarks by name; empty: those of the suite."""

    suite: Suite = "quick"
    limit: int | None = None
    """Questions of each benchmark, at most."""

    budget_seconds: float | None = None
    """Time for the questions that decide beside a base; None: the suite's."""

    tolerances: Tolerances = Tolerances()
    allow_code: bool = False
    task: Task = "general"


class EvaluationRequest(Examination):
    """What to evaluate, on what."""

    artifact: str
    """A GGUF file, an ONNX or Hugging Face folder, a bundle or `demo`."""

    base: str | None = None


class Evaluation(FrozenModel):
    """What an evaluation found. Without a base there is nothing to compare and no verdict."""

    schema_version: Literal[1] = 1
    request: EvaluationRequest
    artifact_sha256: str
    base_sha256: str | None
    divergence: DivergenceSummary | None = None
    divergence_by_capability: dict[Bucket, DivergenceSummary] = Field(default={})
    """On the text of each capability's own questions."""

    coherence: Coherence
    scores: tuple[Score, ...]
    """By category."""

    benchmarks: tuple[Score, ...]
    bias: BiasScores | None
    comparison: Comparison | None = None
    efficiency: Efficiency | None = None
    verdict: Verdict | None = None
    coverage: Coverage
    skipped: tuple[Skipped, ...]
    notices: tuple[str, ...]
    versions: dict[str, str]


def evaluate_artifact(request: EvaluationRequest, listen: Listener) -> Evaluation:
    """Evaluate as `request` says.

    What is missing or not allowed is refused before any work: ModelNotFound, DataMissing,
    DataMalformed, TaskUnavailable, CodeNotAllowed. An artifact that writes garbage is not an error:
    its evaluation ends early and says so.
    """
    check_cache()
    artifact = find_artifact(request.artifact)
    base = find_artifact(request.base) if request.base else None
    selection = _selected(request)
    if not selection.items and not selection.harness:
        reasons = " ".join(f"{row.name}: {row.reason}." for row in selection.skipped[:3])
        raise EvidenceTooNarrow(f"None of the benchmarks asked for can be run. {reasons}")
    text = evaluation_text(request.data)
    for named in (artifact, base):
        if named:
            check_template(named.path)
    found = EvaluationRun(request, selection, text, listen)
    for text in selection.notices:
        found.say(text)
    subject = found.subject(artifact, "artifact")
    if base is None:
        return found.alone(subject)
    return found.beside_base(found.subject(base, "base"), subject, artifact)


def _selected(request: EvaluationRequest) -> Selection:
    """Exactly the named tasks, else the suite."""
    limit, allow_code = request.limit, request.allow_code
    if request.tasks:
        return select_tasks(request.tasks, request.data, limit, allow_code=allow_code)
    return select_suite(
        request.suite,
        request.data,
        limit,
        allow_code=allow_code,
        to_decide=request.base is not None,
    )


def model_under_test(
    named: NamedArtifact, who: Literal["base", "artifact"], listen: Listener
) -> ModelUnderTest:
    """A file that the user named, as it is run here."""
    return ModelUnderTest(
        who=who,
        path=named.path,
        sha256=path_digest(named.path),
        runtime=find_runtime(named.runtime),
        template=read_chat_template(named.path),
        threads=physical_cores(),
        listen=listen,
        model=named.path.name,
        kv_type=named.recipe.settings.kv_type if named.recipe and who == "artifact" else "F16",
    )


class EvaluationRun:
    """One evaluation on its way: the subjects, the questions, what is to be told."""

    def __init__(
        self, request: EvaluationRequest, selection: Selection, text: str, listen: Listener
    ) -> None:
        self.request = request
        self.selection = selection
        self.text = text
        self.listen = listen
        self.skipped = list(selection.skipped)
        self.notices: list[str] = []

    def say(self, text: str) -> None:
        self.notices.append(text)
        self.listen(Warned(text=text))

    def subject(self, named: NamedArtifact, who: Literal["base", "artifact"]) -> ModelUnderTest:
        found = model_under_test(named, who, self.listen)
        for text in found.runtime.notes(named.path):
            self.say(text)
        return found

    def alone(self, artifact: ModelUnderTest) -> Evaluation:
        """Scores of the artifact, unless it writes garbage."""
        coherence = evaluation_stages.coherence(None, artifact, None)
        results = self.answers(artifact) if coherence.coherent else ()
        return self.evaluation(artifact, None, coherence, results)

    def beside_base(
        self, base: ModelUnderTest, artifact: ModelUnderTest, named: NamedArtifact
    ) -> Evaluation:
        """The artifact against its base, and the verdict."""
        wanted = EvaluationSettings(
            budget_seconds=self.request.budget_seconds or SUITE_SECONDS[self.request.suite],
            tolerances=self.request.tolerances,
        )
        recipe = named.recipe
        comparable = self.comparable(base, artifact)
        divergence = (
            evaluation_stages.divergence(base, artifact, self.text, wanted) if comparable else None
        )
        coherence = evaluation_stages.coherence(base, artifact, divergence)
        results: tuple[ItemResult, ...] = ()
        comparison, efficiency = Comparison(categories=()), None
        by_capability: dict[Bucket, DivergenceSummary] = {}
        if coherence.coherent:
            if comparable:
                items = self.selection.items
                by_capability = evaluation_stages.divergence_by_capability(base, artifact, items)
            asking = Asking(
                base, artifact, wanted, self.request.task, repeats_base(divergence),
                self.request.allow_code,
            )  # fmt: skip
            comparison, results = self.compared(asking)
            efficiency = self.efficiency(base, artifact)
        verdict = judge(
            Evidence(
                task=self.request.task,
                comparison=comparison,
                divergence=divergence,
                coherence=coherence,
                efficiency=efficiency,
                method=method_of(recipe) if recipe else "quantization",
                sparsity_percent=sparsity_percent(recipe) if recipe else None,
                bits=named.bits_per_weight,
                calibration=recipe.calibration if recipe and recipe.importance else None,
            )
        )
        return self.evaluation(
            artifact, base, coherence, results,
            divergence=divergence, divergence_by_capability=by_capability, comparison=comparison,
            efficiency=efficiency, verdict=verdict,
        )  # fmt: skip

    def evaluation(
        self,
        artifact: ModelUnderTest,
        base: ModelUnderTest | None,
        coherence: Coherence,
        results: tuple[ItemResult, ...],
        **compared: Any,
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
            artifact_sha256=artifact.sha256,
            base_sha256=base.sha256 if base else None,
            coherence=coherence,
            scores=scores_by_category(results),
            benchmarks=scores_by_benchmark(results),
            bias=bias_scores(results),
            coverage=covered,
            skipped=tuple(self.skipped),
            notices=(*self.notices, *(covered.warnings if results else ())),
            versions=versions(),
            **compared,
        )

    def comparable(self, base: ModelUnderTest, artifact: ModelUnderTest) -> bool:
        """Whether predictions can be set beside each other, token by token; told where not."""
        if base.runtime.name != artifact.runtime.name:
            self.say(
                f"No divergence: the base runs in {base.runtime.name} and the artifact in "
                f"{artifact.runtime.name}. Give a base in the artifact's own format."
            )
            return False
        same = evaluation_stages.same_tokens(base, artifact)
        if not same.passed:
            self.say(f"No divergence: base and artifact have different tokenizers ({same.detail}).")
        return same.passed

    def compared(self, asking: Asking) -> tuple[Comparison, tuple[ItemResult, ...]]:
        """Both on the same questions, asked until it is known what was lost; then on each lm-eval
        task that can be run. The comparison, and what the artifact answered."""
        before: tuple[ItemResult, ...] = ()
        after: tuple[ItemResult, ...] = ()
        sets = QuestionSets(tolerances=asking.wanted.tolerances)
        if self.selection.items:
            asked = ask_until_decided(asking, self.selection.items)
            before, after, sets = asked.base, asked.artifact, asked.sets
            for text in asked.notices:
                self.say(text)
        first, second = self.harness_results(asking.base), self.harness_results(asking.artifact)
        # A task of lm-eval tells not how many questions it has.
        unknown = {row.category for row in first}
        known = {name: size for name, size in sets.items.items() if name not in unknown}
        sets = sets.model_copy(update={"items": known})
        results = self.require_some((*after, *second))
        return compare_results((*before, *first), results, sets), results

    def answers(self, subject: ModelUnderTest) -> tuple[ItemResult, ...]:
        """What one file answers: to the items, then to each lm-eval task that can be run."""
        results: tuple[ItemResult, ...] = ()
        if self.selection.items:
            results = evaluation_stages.answers(
                subject, self.selection.items, allow_code=self.request.allow_code
            )
        return self.require_some((*results, *self.harness_results(subject)))

    def require_some(self, results: tuple[ItemResult, ...]) -> tuple[ItemResult, ...]:
        if not results:
            reasons = " ".join(f"{row.name}: {row.reason}." for row in self.skipped[:3])
            raise EvidenceTooNarrow(f"None of the benchmarks asked for could be run. {reasons}")
        return results

    def harness_results(self, subject: ModelUnderTest) -> tuple[ItemResult, ...]:
        results: list[ItemResult] = []
        for task in self.selection.harness:
            if any(row.name == task.name for row in self.skipped):
                continue
            try:
                results += self.harness_answers(subject, task)
            except TaskUnavailable as error:
                # Named tasks are wanted without fail; of a suite, what can be run is run.
                if self.request.tasks:
                    raise
                self.skipped.append(Skipped(name=task.name, reason=str(error)))
        return tuple(results)

    def harness_answers(self, subject: ModelUnderTest, task: HarnessTask) -> tuple[ItemResult, ...]:
        def work(folder: Path, progress: Progress) -> Answers:
            results = run_task(subject.asked, task, self.selection.limit)
            return Answers(results=results)

        inputs = {"task": task.model_dump(), "limit": self.selection.limit}
        title = f"Asking the {subject.who} {task.name} through lm-eval"
        return subject.stage(f"harness-{subject.who}", title, Answers, inputs, work).results

    def efficiency(self, base: ModelUnderTest, artifact: ModelUnderTest) -> Efficiency:
        """Speed and memory of both files, measured (R47): sizes alone are none."""
        wanted, text = MeasurementSettings(), evaluation_text(None)
        depth = evaluation_stages.MEASURED_DEPTHS[-1]
        before, after = (
            evaluation_stages.measurement(
                subject,
                RunSettings(
                    context=depth + wanted.decode_tokens + 1,
                    threads=subject.threads,
                    kv_type=subject.kv_type,
                ),
                text,
                wanted,
            )
            for subject in (base, artifact)
        )
        return Efficiency(
            base_bytes=path_bytes(base.path),
            artifact_bytes=path_bytes(artifact.path),
            decode_tokens_per_second=after.at(depth).decode_tokens_per_second.median,
            peak_memory_bytes=after.peak_memory_bytes,
            base_decode_tokens_per_second=before.at(depth).decode_tokens_per_second.median,
        )
