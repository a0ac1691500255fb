"""Keep what commands found out of files that lie there: made, evaluated, audited, measured.

A fit keeps its own (jobs/fit.py), wherever it runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from edgecomp import __version__
from edgecomp.bundles.artifact_argument import NamedArtifact, find_artifact
from edgecomp.common.digests import path_digest
from edgecomp.common.errors import EdgecompError
from edgecomp.common.events import Listener, Warned
from edgecomp.devices.detect import cpu_model
from edgecomp.formats.gguf_file_type import file_type
from edgecomp.jobs.audit import Audit, AuditedFile
from edgecomp.jobs.evaluation import Evaluation
from edgecomp.jobs.kept_figures import (
    artifact_size,
    comparison_figures,
    divergence_figures,
    efficiency_figures,
    level_figures,
    now,
    score_figures,
)
from edgecomp.making.compress_job import Compressed
from edgecomp.measure.genai_bench import GenaiBench
from edgecomp.measure.llama_bench import LlamaBench
from edgecomp.measure.serving import Serving
from edgecomp.models.reading import read_model
from edgecomp.recipes.recipe import Recipe
from edgecomp.results.store import keep_result
from edgecomp.results.stored_run import Figure, Job, StoredRun


@contextmanager
def _told(listen: Listener) -> Iterator[None]:
    """What was found out stands, whatever is wrong with the file by now."""
    try:
        yield
    except (EdgecompError, OSError) as error:
        listen(Warned(text=f"The figures were not kept for `edgecomp results`: {error}"))


def keep_compressed(found: Compressed, recipe: Recipe, listen: Listener) -> None:
    """Keep what `compress` made: how large it is."""
    path, here = found.folder / found.file, cpu_model()
    named = NamedArtifact(path=path, recipe=recipe, runtime=recipe.runtime)
    size = artifact_size(path, here)
    with _told(listen):
        keep_result(_run(named, recipe.model, "compress", here, [size]), listen)


def keep_evaluation(found: Evaluation, listen: Listener) -> None:
    """Keep what an evaluation found."""
    here, request = cpu_model(), found.request
    level = found.verdict.level if found.verdict else None
    changes = {"task": request.task, "verdict": level, "artifact_sha256": found.artifact_sha256}
    with _told(listen):
        named = find_artifact(request.artifact)
        figures = _evaluation_figures(found, named.path, here)
        run = _run(named, request.base, "evaluate", here, figures)
        keep_result(run.model_copy(update=changes), listen)


def _evaluation_figures(found: Evaluation, path: Path, here: str) -> Iterator[Figure]:
    yield artifact_size(path, here)
    yield from divergence_figures(found.divergence, here)
    if found.comparison and found.comparison.categories:
        yield from comparison_figures(found.comparison, here)
    else:
        yield from score_figures(found.scores, here)
    yield from efficiency_figures(found.efficiency, here)


def keep_audit(found: Audit, listen: Listener) -> None:
    """Keep what an audit found, a run a file."""
    here = cpu_model()
    for file in found.files:
        changes = {"verdict": file.level, "artifact_sha256": file.sha256}
        with _told(listen):
            named = find_artifact(str(file.path))
            run = _run(named, found.base, "audit", here, _audit_figures(file, here))
            keep_result(run.model_copy(update=changes), listen)


def _audit_figures(file: AuditedFile, here: str) -> Iterator[Figure]:
    if file.evaluation:
        yield from _evaluation_figures(file.evaluation, file.path, here)
    else:
        yield artifact_size(file.path, here)
        yield from divergence_figures(file.divergence, here)


def keep_measurement(
    found: Serving | LlamaBench | GenaiBench, name: str, address: str | None, listen: Listener
) -> None:
    """Keep how fast an artifact was, on this machine or on the device at `address`."""
    if isinstance(found, LlamaBench):
        device, busy, figures = address or found.device, None, _bench_figures(found)
    elif isinstance(found, GenaiBench):
        device, busy, figures = address or found.device, None, _genai_figures(found)
    else:
        device = address or found.machine.processor
        busy, figures = found.machine.busy, _serving_figures(found, device)
    changes: dict[str, object] = {"busy": busy}
    if found.settings:
        changes |= {
            "context": found.settings.context,
            "threads": found.settings.threads,
            "kv_type": found.settings.kv_type,
        }
    with _told(listen):
        run = _run(find_artifact(name), None, "measure", device, figures)
        keep_result(run.model_copy(update=changes), listen)


def _serving_figures(found: Serving, device: str) -> Iterator[Figure]:
    for level in found.levels:
        yield from level_figures(level, device, f"{level.concurrency} at a time")
    if found.sustained:
        level = found.sustained.level
        yield from level_figures(level, device, f"{level.concurrency} at a time, kept up")


def _bench_figures(found: LlamaBench) -> Iterator[Figure]:
    for row in found.speeds:
        yield Figure(
            quantity="decode" if row.output_tokens else "prefill",
            subject=f"{row.depth or row.prompt_tokens} tokens",
            unit="tok/s",
            device=found.device,
            measured=row.mean_tokens_per_second,
        )


def _genai_figures(found: GenaiBench) -> Iterator[Figure]:
    for row in found.speeds:
        written = row.test == "write"
        yield Figure(
            quantity="decode" if written else "prefill",
            subject=f"{found.output_tokens if written else row.tokens} tokens",
            unit="tok/s",
            device=found.device,
            measured=row.tokens_per_second,
        )
    yield Figure(
        quantity="peak memory", unit="bytes", device=found.device, measured=found.peak_memory_bytes
    )


def _run(
    named: NamedArtifact, base: str | None, job: Job, device: str, figures: Iterable[Figure]
) -> StoredRun:
    """What is to be said of any file or folder, whoever made it."""
    recipe, path = named.recipe, named.path
    settings = recipe.settings if recipe else None
    name, format_name = _name_and_format(named, base)
    size = artifact_size(path, device)
    rows = tuple(figures)
    return StoredRun(
        at=now(),
        job=job,
        model=name,
        artifact=str(path.resolve()),
        artifact_sha256=path_digest(path),
        runtime=named.runtime,
        device=device,
        format=format_name,
        method=recipe.rounding if recipe else None,
        bits_per_weight=named.bits_per_weight,
        size_bytes=int(size.measured or 0),
        context=settings.context if settings else None,
        threads=settings.threads if settings else None,
        kv_type=settings.kv_type if settings else None,
        version=__version__,
        figures=rows if any(row.quantity == "size" for row in rows) else (size, *rows),
    )


def _name_and_format(named: NamedArtifact, base: str | None) -> tuple[str, str]:
    """The model's name, its base's where there is one, and the artifact's format."""
    try:
        spec = read_model(named.path)
    except EdgecompError:
        spec = None  # What ONNX Runtime runs is read elsewhere.
    own = spec.name if spec else named.path.name
    format_name = named.recipe.format if named.recipe else spec and spec.quantization
    if spec and spec.source == "gguf" and not named.recipe:
        format_name = file_type(named.path) or format_name
    return _model_name(base) if base else own, format_name or "float"


def _model_name(base: str) -> str:
    """What a source or a base is called: a model, a bundle, or a file of logits."""
    for path in (lambda: base, lambda: find_artifact(base).path):
        try:
            return read_model(path()).name
        except EdgecompError:
            continue
    return Path(base).stem
