"""The worker process: answers edgecomp's requests with transformers."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import torch

from edgecomp.common.events import Progress
from edgecomp.processes.child import Handler, serve
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.divergence import Reader
from edgecomp.runtimes.session_worker import Library
from edgecomp.runtimes.transformers import generate, reading, serving
from edgecomp.runtimes.transformers.load import card_bytes
from edgecomp.runtimes.transformers.loading import loading_of
from edgecomp.runtimes.transformers.session import Session, TransformersTokenizer
from edgecomp.runtimes.transformers.time_decode import time_decode

LIBRARY = Library(
    tokenizer=TransformersTokenizer,
    load=Session,
    load_to_time=Session,
    generate=generate.generate,
    score_choices=reading.score_choices,
    reader=Reader(reading.start, reading.rows),
    time_decode=time_decode,
    buffers=lambda session: session.buffer_bytes,
)


def notes(path: str, progress: Progress) -> list[str]:
    """What a user should know of how a folder is loaded here."""
    return list(loading_of(Path(path), card_bytes()).notes)


def serve_load(
    path: str, settings: dict[str, Any], progress: Progress, **rest: Any
) -> dict[str, Any]:
    return serving.serve(path, RunSettings.model_validate(settings), progress=progress, **rest)


def freeing(handler: Handler) -> Handler:
    """The handler, whose model is gone from memory when it has answered: the worker goes on."""

    def answer(*arguments: Any, **named: Any) -> Any:
        try:
            return handler(*arguments, **named)
        finally:
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    return answer


if __name__ == "__main__":
    every: dict[str, Handler] = {**LIBRARY.handlers(), "notes": notes, "serve": serve_load}
    serve({name: freeing(handler) for name, handler in every.items()})
