"""A projector loaded beside its text model, by llama.cpp's `mtmd` library (tools/mtmd).

Runs in a worker process only: what is wrong with a file may end the process. `mtmd` compares the
projector's width with the text model's, and reserves the graph that reads a picture or a sound of
its usual size, which allocates what computing takes but computes nothing.
"""

from __future__ import annotations

import re
import sys
from typing import Any

import llama_cpp

from edgecomp.common.errors import RuntimeMissing, RuntimeRefused
from edgecomp.common.safe_text import one_line
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.llama_cpp.session import Session

COMPUTE = re.compile(r"compute buffer size = +([\d.]+) MiB")
CAUSE = re.compile(r"(?:unable|mismatch|missing|unsupported|unknown)[^\n]*")
FAILURE = re.compile(r"failed to load[^\n]*")


def load_projector(path: str, text_model: str, settings: RunSettings) -> dict[str, Any]:
    """Load the projector at `path` beside `text_model`, whose weights are not: what it reads
    (`vision`, `audio`), and `compute_bytes`. Raises RuntimeRefused, or RuntimeMissing without the
    library."""
    try:
        from llama_cpp import mtmd_cpp
    except (ImportError, OSError, RuntimeError) as error:
        raise RuntimeMissing(
            f"This llama-cpp-python ({llama_cpp.__version__}) has no library that reads pictures "
            f"and sounds: {error}"
        ) from error
    heard: list[str] = []

    def log(level: int, text: bytes, data: object) -> None:
        heard.append(text.decode("utf-8", errors="replace"))
        sys.stderr.write(heard[-1])

    with Session(text_model, settings, allocate=False) as session:
        callback = llama_cpp.llama_log_callback(log)
        mtmd_cpp.mtmd_log_set(callback, None)
        parameters = mtmd_cpp.mtmd_context_params_default()
        parameters.use_gpu = False
        parameters.n_threads = settings.threads
        parameters.warmup = True
        context = mtmd_cpp.mtmd_init_from_file(path.encode(), session.model, parameters)
        said = "".join(heard)
        if not context:
            # The cause stands at the end of the line that also names the file.
            fault = CAUSE.search(said) or FAILURE.search(said)
            reason = one_line(fault.group()) if fault else "it gave no reason"
            raise RuntimeRefused(f"llama.cpp cannot load the projector {path}: {reason}.")
        found = {
            "vision": bool(mtmd_cpp.mtmd_support_vision(context)),
            "audio": bool(mtmd_cpp.mtmd_support_audio(context)),
            "compute_bytes": sum(round(float(size) * 2**20) for size in COMPUTE.findall(said)),
        }
        mtmd_cpp.mtmd_free(context)
    return found
