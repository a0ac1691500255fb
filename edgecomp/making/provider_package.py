"""The package of an ONNX artifact for another execution provider than the one that judges it here.

A provider that is given the CPU's graph gets the judged files with a configuration of its own; any
other a graph that the builder draws for it, with the same codes in it. Such a graph is run here
with the CPU's provider, which computes as float32 what it has no float16 kernels for: what the
graph says is then known, what the other provider makes of it is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from edgecomp.checks.artifact_checks import CheckResult, check_size
from edgecomp.checks.token_id_check import check_token_ids
from edgecomp.common.atomic import copy_folder
from edgecomp.common.digests import file_digest, tree_digest
from edgecomp.common.events import Progress
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.evaluate.own_text import divergence_text
from edgecomp.formats.execution_providers import execution_provider, how_to_get
from edgecomp.formats.exporting import ServedLimits, find_onnx_exporter
from edgecomp.formats.onnx_formats import onnx_data_bytes
from edgecomp.models.onnx_folder import (
    DATA,
    GRAPH,
    OnnxTensor,
    external_tensors,
    load_graph,
    read_onnx_folder,
)
from edgecomp.models.reading import read_model
from edgecomp.pipeline.run import Run
from edgecomp.pipeline.stage_cache import StoredFile
from edgecomp.planning.provider_partition import Partition, counted_nodes, partition
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.protocol import Windows

CODES = ("_Q4", "_Q8")
WEIGHT_BYTES = "bytes of weights"
WINDOW = Windows(tokens=64, number=4)
MOST_NATS = 0.1
"""A token's mean divergence of a package from its twin. Float16 and activations that are not
rounded make some thousandths; a graph that is wrong, whole nats."""

FUSED, PARTS = "qkv_proj", ("q_proj", "k_proj", "v_proj")
"""Rows of the parts follow one another in the builder's fused matrix."""


class ProviderPackage(FrozenModel):
    """What is shipped for an execution provider, beside the artifact that was judged."""

    provider: str
    file: StoredFile
    size_bytes: int
    partition: Partition
    """Of the graph as it was written."""

    checks: tuple[CheckResult, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        provider = execution_provider(self.provider)
        warnings = (check.warning for check in self.checks if check.warning)
        return (
            f"{provider.title} was not run: judged and measured here is the package's twin, with "
            "ONNX Runtime's CPU provider.",
            f"To run the package: {how_to_get(provider)}.",
            self.partition.sentence,
            *warnings,
        )


class Exported(NamedTuple):
    """What the judged artifact was exported from: a checkpoint, and whether its codes are ours."""

    checkpoint: Path
    has_codes: bool
    done: Sequence[Any]
    """The stages that left it."""

    overrides: Mapping[str, str]
    """Types of single tensors, over the format's own."""


def make_provider_package(run: Run, judged: StoredFile, source: Exported) -> ProviderPackage:
    """The package for the recipe's provider. Its checks may have failed."""
    name, provider = run.recipe.format, execution_provider(run.recipe.provider)
    settings = run.recipe.settings
    limits = ServedLimits(
        context=settings.context,
        sequences=settings.sequences,
        chunk=settings.micro_batch,
        threads=settings.threads,
    )

    def work(folder: Path, progress: Progress) -> ProviderPackage:
        path, exporter = folder / f"{name}-{provider.name}", find_onnx_exporter()
        spec = read_model(source.checkpoint)
        if provider.graph == "cpu":
            copy_folder(judged.path, path)
        else:
            run.torch.end()  # The builder holds the whole model: an idle worker's memory is its.
            exporter.export_format(spec, path, name, provider.name, progress=progress)
            if source.has_codes:
                exporter.insert_codes(path, source.checkpoint)
        fault = exporter.configure(path, provider.name, limits)
        nodes = counted_nodes(node.op_type for node in load_graph(path).graph.node)
        return ProviderPackage(
            provider=provider.name,
            file=StoredFile(path=path, sha256=tree_digest(path)),
            size_bytes=read_onnx_folder(path).size_bytes,
            partition=partition(nodes, provider),
            checks=(
                check_token_ids(spec, path, run.runtime),
                check_size(
                    path / DATA,
                    onnx_data_bytes(spec, name, provider.name, source.overrides),
                    name="package-size",
                    unit=WEIGHT_BYTES,
                ),
                _config_check(fault),
                codes_check(judged.path, path, same=source.has_codes),
                _graph_check(run, judged.path, path),
            ),
        )

    inputs = {
        "format": name,
        "provider": provider.name,
        "judged": judged.sha256,
        "limits": list(limits),
        "stages": list(source.done),
    }
    title = f"Writing the package for {provider.title}"
    return run.stage("onnx-package", title, ProviderPackage, inputs, work)


def _config_check(fault: str) -> CheckResult:
    return CheckResult(
        name="package-config",
        passed=not fault,
        detail=fault or "onnxruntime-genai's own parser takes the configuration",
    )


def _graph_check(run: Run, judged: Path, package: Path) -> CheckResult:
    """Whether a package's graph predicts what the judged artifact does, both with the CPU's
    provider."""
    if _same_graph(judged, package):
        detail = "the graph is the judged artifact's"
        return CheckResult(name="package-graph", passed=True, detail=detail)
    tokens = min(WINDOW.tokens, read_onnx_folder(package).context_length)
    settings = RunSettings(context=tokens, micro_batch=tokens, outputs=tokens, threads=run.threads)
    samples = run.runtime.compare(
        judged, package, settings, divergence_text(), windows=WINDOW._replace(tokens=tokens)
    )
    nats = [value for window in samples.kl for value in window]
    mean = sum(nats) / len(nats)
    return CheckResult(
        name="package-graph",
        # What is no number is no agreement.
        passed=mean < MOST_NATS,
        detail=f"run with the CPU's provider, it is {mean:.4f} nats a token from the judged "
        f"artifact over {len(nats)} tokens",
    )


def _same_graph(judged: Path, package: Path) -> bool:
    return (judged / GRAPH).read_bytes() == (package / GRAPH).read_bytes()


def codes_check(judged: Path, package: Path, *, same: bool) -> CheckResult:
    """Whether a package holds the judged artifact's codes. Where the builder rounded both (`same`
    is False), it may round otherwise in float16, which is a warning."""
    if _same_graph(judged, package):
        equal = file_digest(judged / DATA) == file_digest(package / DATA)
        detail = "graph and weights are the judged artifact's, byte for byte"
        if not equal:
            detail = "its weights are not the judged artifact's"
        return CheckResult(name="package-codes", passed=equal, detail=detail)
    ours, theirs = _codes(judged), _codes(package)
    other = [name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)]
    detail = f"{len(ours) - len(other)} of {len(ours)} matrices have the judged artifact's codes"
    if not ours:
        detail = "no codes: float weights, in the provider's own number type"
    warning = None
    if other and not same:
        warning = (
            f"The builder rounded {len(other)} matrices of the package otherwise than the judged "
            "artifact's: it rounds what float16 left. Codes that --method chooses are the same."
        )
    return CheckResult(
        name="package-codes", passed=not other or not same, detail=detail, warning=warning
    )


def _codes(folder: Path) -> dict[str, str]:
    """A hash of each matrix's codes, those of q, k and v together."""
    stored = external_tensors(folder, load_graph(folder))
    found: dict[str, list[OnnxTensor]] = {}
    for name, tensor in _in_order(stored):
        found.setdefault(name, []).append(tensor)
    return {name: _digest(rows) for name, rows in found.items()}


def _in_order(stored: Mapping[str, OnnxTensor]) -> Iterator[tuple[str, OnnxTensor]]:
    codes = {name: row for name, row in stored.items() if name.endswith(CODES)}
    for part in (*PARTS, ""):
        for name, tensor in codes.items():
            own = next((p for p in PARTS if f".{p}." in name), "")
            if own == part:
                yield (name.replace(f".{own}.", f".{FUSED}.") if own else name), tensor


def _digest(rows: Sequence[OnnxTensor]) -> str:
    digest = sha256()
    for row in rows:
        with row.file.open("rb") as file:
            file.seek(row.offset)
            digest.update(file.read(row.size_bytes))
    return digest.hexdigest()
