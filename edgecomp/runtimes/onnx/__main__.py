"""The worker process: answers edgecomp's requests with ONNX Runtime."""

from __future__ import annotations

from functools import partial
from typing import Any

from edgecomp.common.events import Progress
from edgecomp.processes.child import Handler, serve
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.divergence import Reader
from edgecomp.runtimes.onnx import generate, reading, serving
from edgecomp.runtimes.onnx.session import OnnxTokenizer, Session
from edgecomp.runtimes.onnx.time_decode import time_decode
from edgecomp.runtimes.session_worker import Library

LIBRARY = Library(
    tokenizer=OnnxTokenizer,
    load=Session,
    load_to_time=partial(Session, spin=True),
    generate=generate.generate,
    score_choices=reading.score_choices,
    reader=Reader(reading.start, reading.rows),
    time_decode=time_decode,
    # ONNX Runtime reports no buffers of its own; the cache is the one we hand it.
    buffers=lambda session: {"kv": session.cache_bytes},
)


def serve_load(
    path: str, settings: dict[str, Any], progress: Progress, **rest: Any
) -> dict[str, Any]:
    return serving.serve(path, RunSettings.model_validate(settings), progress=progress, **rest)


if __name__ == "__main__":
    handlers: dict[str, Handler] = {**LIBRARY.handlers(), "serve": serve_load}
    serve(handlers)
