"""One recipe on its way: what its stages share.

Making an artifact (making/gguf.py) and checking it (making/gguf_checks.py) are functions of a Run.
Each step is a cached stage (stage_cache.py): its inputs are hashed, its result is kept,
and a run that was stopped goes on from the last finished one. Nothing here prints.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

from edgecomp.common.digests import file_digest, tree_digest
from edgecomp.common.events import Listener, Progress
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.common.machine_limits import physical_cores
from edgecomp.models.chat_template import ChatTemplate, read_chat_template
from edgecomp.models.spec import ModelSpec
from edgecomp.pipeline.stage_cache import StageLabel, StoredFile, run_stage
from edgecomp.recipes.recipe import Recipe
from edgecomp.runtimes.protocol import find_runtime
from edgecomp.torch_worker.client import TorchWorker

Result = TypeVar("Result", bound=FrozenModel)


class Run:
    """One recipe on its way: the model, the runtime, the listener, and the stages in order."""

    def __init__(self, model: ModelSpec, recipe: Recipe, data: Path | None, listen: Listener):
        self.model = model
        self.recipe = recipe
        self.data = data
        self.listen = listen
        self.torch = TorchWorker()
        # What transformers will run is calibrated and checked by its float GGUF.
        gguf = recipe.runtime == "transformers"
        self.runtime = find_runtime("llama.cpp" if gguf else recipe.runtime)
        # The device may have more cores than the machine that makes its artifact.
        self.threads = min(recipe.settings.threads, physical_cores())
        self.template: ChatTemplate = read_chat_template(model.path)
        self.source_digest = source_digest(model)

    def stage(
        self,
        name: str,
        title: str,
        kind: type[Result],
        inputs: dict[str, Any],
        work: Callable[[Path, Progress], Result],
        *,
        any_runtime: bool = False,
    ) -> Result:
        """`run_stage` with the run's own listener; every key holds the source, and the runtime
        unless its result is that of `any_runtime`."""
        own = {} if any_runtime else {"runtime": self.runtime.version()}
        inputs = {"source": self.source_digest, **own, **inputs}
        return run_stage(
            StageLabel(name=name, title=title, model=self.model.name),
            kind,
            inputs,
            work,
            self.listen,
        )

    def in_torch(self, request: str, progress: Progress, **settings: Any) -> Any:
        """What the worker that holds torch answers to a request (torch_worker/__main__.py)."""
        return self.torch.call(request, progress, threads=self.threads, **settings)

    def checkpoint_from_torch(
        self, request: str, folder: Path, progress: Progress, **settings: Any
    ) -> StoredFile:
        """The checkpoint that the worker writes below a stage's `folder`."""
        path = folder / "checkpoint"
        self.in_torch(request, progress, destination=str(path), **settings)
        return StoredFile(path=path, sha256=tree_digest(path))

    def of_model(self, model: ModelSpec) -> Run:
        """The same run of another model, such as a file that was made of the first."""
        other = copy(self)
        other.model, other.source_digest = model, source_digest(model)
        return other

    def following(self, recipe: Recipe) -> Run:
        """The same run by a recipe that has been filled in on the way."""
        other = copy(self)
        other.recipe = recipe
        return other


def source_digest(model: ModelSpec) -> str:
    """A hash of all files that make up the source."""
    if model.path.is_file():
        return file_digest(model.path)
    files = sorted(p for p in model.path.iterdir() if p.is_file() and not p.name.startswith("."))
    listed = "\n".join(f"{file.name} {file_digest(file)}" for file in files)
    return sha256(listed.encode()).hexdigest()


def data_digests(data: Path | None) -> dict[str, str] | None:
    """Hashes of the data folder's files; None where the set that ships is used."""
    if data is None:
        return None
    files = sorted(p for p in data.iterdir() if p.suffix in (".jsonl", ".txt"))
    return {file.name: file_digest(file) for file in files}
