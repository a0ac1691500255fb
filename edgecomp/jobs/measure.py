"""An artifact by its name, measured as a server would run it."""

from __future__ import annotations

from edgecomp.bundles.artifact_argument import NamedArtifact, find_artifact
from edgecomp.common.errors import RuntimeRefused
from edgecomp.common.events import Listener, Warned
from edgecomp.common.machine_limits import physical_cores
from edgecomp.evaluate.own_text import divergence_text
from edgecomp.measure.request import MeasureRequest
from edgecomp.measure.serving import Loads, Serving, measure_serving
from edgecomp.models.onnx_folder import read_onnx_folder
from edgecomp.models.reading import read_model
from edgecomp.planning.onnx_mixtures import ONNX_MICRO_BATCH
from edgecomp.processes.limits import limited
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.protocol import find_runtime
from edgecomp.runtimes.serving_load import ServingLoad
from edgecomp.runtimes.worker_client import ServingRuntime

DEFAULT_CONTEXT = 4096


def measure_artifact(name: str, request: MeasureRequest, listen: Listener) -> Serving:
    """Serve the artifact called `name`: with its recipe's settings where it lies in a bundle.

    Raises RuntimeRefused for an artifact of a runtime that serves no load, and what `find_artifact`
    and `measure_serving` raise.
    """
    artifact = find_artifact(name)
    runtime = find_runtime(artifact.runtime)
    if not isinstance(runtime, ServingRuntime):
        raise RuntimeRefused(
            f"{name} runs in {artifact.runtime}, which serves no concurrent load here. "
            "`edgecomp fit` measures it with one request at a time."
        )
    for text in runtime.notes(artifact.path):
        listen(Warned(text=text))
    trained = _trained_context(artifact) or DEFAULT_CONTEXT
    settings = RunSettings(context=min(DEFAULT_CONTEXT, trained), threads=physical_cores())
    if artifact.runtime == "onnx":
        settings = settings.model_copy(update={"micro_batch": ONNX_MICRO_BATCH})
    if artifact.recipe:
        settings = artifact.recipe.settings
    load = ServingLoad(requests_per_second=request.requests_per_second).within(trained)
    if request.limits and request.limits.cpus:
        threads = min(settings.threads, request.limits.cpus)
        settings = settings.model_copy(update={"threads": threads})
    seconds = 60 * request.minutes if request.minutes else None
    with limited(request.limits):
        return measure_serving(
            artifact.path,
            settings,
            divergence_text(),
            Loads(load=load, concurrencies=request.concurrencies, sustained_seconds=seconds),
            listen,
            runtime,
        )


def _trained_context(artifact: NamedArtifact) -> int:
    """Tokens of context that the model was trained for; 0 where its file does not say."""
    if artifact.runtime == "onnx":
        return read_onnx_folder(artifact.path).context_length
    return read_model(artifact.path).context_length
