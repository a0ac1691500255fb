"""The worker process: answers edgecomp's requests with llama.cpp."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgecomp.common.errors import RuntimeRefused
from edgecomp.common.events import Progress
from edgecomp.processes.child import Handler, serve
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes import meter
from edgecomp.runtimes.answers import to_completions
from edgecomp.runtimes.divergence import Reader, add_figures, no_figures, windows_of
from edgecomp.runtimes.divergence import compare as compare_windows
from edgecomp.runtimes.divergence import read as read_steps
from edgecomp.runtimes.llama_cpp import divergence, generate, projector, quantize, scoring, serving
from edgecomp.runtimes.llama_cpp.importance import gather_importance
from edgecomp.runtimes.llama_cpp.session import Session
from edgecomp.runtimes.llama_cpp.time_decode import time_decode
from edgecomp.runtimes.llama_cpp.types_to_make import Types
from edgecomp.runtimes.logits_file import placed, read_logits_file, write_logits_file
from edgecomp.runtimes.predictions import compare_kept as compare_with_kept
from edgecomp.runtimes.predictions import keep
from edgecomp.runtimes.process_memory import process_memory
from edgecomp.runtimes.protocol import Timing
from edgecomp.runtimes.splitting import split_choices

READER = Reader(divergence.start, divergence.rows)


def tokenize(
    path: str, texts: list[str], progress: Progress, *, add_special: bool, parse_special: bool
) -> list[list[int]]:
    with Session(path, None) as session:
        return [
            session.tokenize(text, add_special=add_special, parse_special=parse_special)
            for text in texts
        ]


def complete(
    path: str,
    settings: dict[str, Any],
    prompts: list[str],
    limits: list[int],
    stops: list[list[str]],
    progress: Progress,
) -> list[dict[str, Any]]:
    """Greedy completions: token ids and text. Prompts hold their own special tokens' text."""
    with Session(path, RunSettings.model_validate(settings), shares=True) as session:
        tokens = [_prompt_tokens(session, prompt) for prompt in prompts]
        produced = generate.generate(session, tokens, limits, stops, progress)
        return to_completions(produced, limits, session)


def score(
    path: str,
    settings: dict[str, Any],
    questions: list[tuple[str, list[str]]],
    progress: Progress,
) -> list[list[tuple[float, bool]]]:
    """Log-likelihood in nats of each choice after its context, and whether it is greedy."""
    with Session(path, RunSettings.model_validate(settings), shares=True) as session:
        split = [
            split_choices(lambda text: _prompt_tokens(session, text), context, choices)
            for context, choices in questions
        ]
        return scoring.score_choices(session, split, progress)


def likelihoods(
    path: str,
    settings: dict[str, Any],
    rows: list[tuple[list[int], list[int]]],
    progress: Progress,
) -> list[list[float]]:
    """Log-likelihood in nats of each token that follows a prompt."""
    with Session(path, RunSettings.model_validate(settings)) as session:
        return [scoring.following_likelihoods(session, *row) for row in rows]


def compare(
    base: str,
    artifact: str,
    settings: dict[str, Any],
    text: str,
    windows: tuple[int, int],
    progress: Progress,
) -> dict[str, Any]:
    """Divergence of `artifact` from `base` over `windows` (tokens, count) of `text`."""
    chosen = RunSettings.model_validate(settings)
    with Session(base, _exact(chosen)) as first, Session(artifact, chosen) as second:
        tokens = first.tokenize(text, add_special=False, parse_special=False)
        read = windows_of(tokens, *windows)
        return compare_windows(first, second, read, READER, chosen.outputs, progress)


def keep_predictions(
    base: str,
    settings: dict[str, Any],
    text: str,
    windows: tuple[int, int],
    folder: str,
    progress: Progress,
) -> bool:
    """Keep what `base` predicts over `windows` (tokens, count) of `text`, unless it is too much."""
    exact = _exact(RunSettings.model_validate(settings))
    with Session(base, exact) as session:
        tokens = session.tokenize(text, add_special=False, parse_special=False)
        read = windows_of(tokens, *windows)
        return keep(session, read, READER, exact.outputs, Path(folder), progress)


def compare_kept(
    predictions: str, artifact: str, settings: dict[str, Any], progress: Progress
) -> dict[str, Any]:
    """Divergence of `artifact` from what was kept of its base."""
    chosen = RunSettings.model_validate(settings)
    with Session(artifact, chosen) as session:
        return compare_with_kept(Path(predictions), session, READER, chosen.outputs, progress)


def write_logits(
    base: str,
    settings: dict[str, Any],
    text: str,
    windows: tuple[int, int],
    destination: str,
    progress: Progress,
) -> None:
    """Write what `base` predicts over `windows` (tokens, count) of `text` as llama.cpp's file."""
    exact = _exact(RunSettings.model_validate(settings))
    with Session(base, exact) as session:
        tokens = session.tokenize(text, add_special=True, parse_special=False)
        chunks = np.asarray(windows_of(tokens, *windows), dtype=np.int32)
        read_as = chunks.copy()
        if session.adds_bos is not None:
            read_as[:, 0] = session.adds_bos
        steps = read_steps(session, read_as.tolist(), READER, exact.outputs, progress)
        write_logits_file(Path(destination), chunks, session.vocabulary, steps)


def compare_logits(
    logits: str, artifact: str, settings: dict[str, Any], progress: Progress
) -> dict[str, Any]:
    """Divergence of `artifact` from the model that wrote llama.cpp's file `logits`."""
    kept = read_logits_file(Path(logits))
    chosen = RunSettings.model_validate(settings)
    with Session(artifact, chosen) as session:
        if session.vocabulary != kept.vocabulary:
            raise RuntimeRefused(
                f"{logits} was written by a model with {kept.vocabulary:,} tokens in its "
                f"vocabulary; {artifact} has {session.vocabulary:,}."
            )
        windows = kept.windows(session.adds_bos)
        figures = no_figures(len(windows))
        for at, found in placed(read_steps(session, windows, READER, chosen.outputs, progress)):
            add_figures(figures, found, kept.expected(at, found))
    return figures


def _exact(settings: RunSettings) -> RunSettings:
    """The base's: its KV cache is not what is on trial."""
    return settings.model_copy(update={"kv_type": "F16"})


def measure(
    path: str, settings: dict[str, Any], text: str, timing: dict[str, Any], progress: Progress
) -> dict[str, Any]:
    chosen, wanted = RunSettings.model_validate(settings), Timing.model_validate(timing)
    return meter.measure(lambda: Session(path, chosen), time_decode, text, wanted, progress)


def serve_load(
    path: str, settings: dict[str, Any], progress: Progress, **rest: Any
) -> dict[str, Any]:
    return serving.serve(path, RunSettings.model_validate(settings), progress=progress, **rest)


def time_model(
    path: str, settings: dict[str, Any], timing: dict[str, Any], progress: Progress
) -> list[list[dict[str, Any]]]:
    chosen, wanted = RunSettings.model_validate(settings), Timing.model_validate(timing)
    return meter.time_model(lambda: Session(path, chosen), time_decode, wanted)


def idle_memory(progress: Progress) -> dict[str, int]:
    """What this process takes before any model is loaded."""
    return process_memory().model_dump()


def quantize_file(
    source: str, destination: str, types: dict[str, Any], threads: int, progress: Progress
) -> None:
    """Quantize to `types`, whose importance matrix is a file in llama.cpp's GGUF layout."""
    wanted = Types.model_validate(types)
    quantize.quantize(Path(source), Path(destination), wanted, threads, progress)


def importance(
    path: str,
    tokens: str,
    settings: dict[str, Any],
    destination: str,
    datasets: list[str],
    progress: Progress,
) -> None:
    """Write the importance matrix of a GGUF file; `tokens` is an .npy file [rows, length]."""
    chosen = RunSettings.model_validate(settings)
    rows = np.load(tokens)
    gather_importance(Path(path), rows, chosen, Path(destination), datasets, progress)


def buffer_sizes(
    path: str, settings: dict[str, Any], progress: Progress, *, allocate: bool
) -> None:
    """Open a session; the sizes of its buffers stand in the log."""
    with Session(path, RunSettings.model_validate(settings), allocate=allocate):
        pass


def load_projector(
    path: str, text_model: str, settings: dict[str, Any], progress: Progress
) -> dict[str, Any]:
    return projector.load_projector(path, text_model, RunSettings.model_validate(settings))


def _prompt_tokens(session: Session, prompt: str) -> list[int]:
    # A chat template may write BOS itself; the model has never seen two of them in a row.
    begins = bool(session.bos_text) and prompt.startswith(session.bos_text)
    return session.tokenize(prompt, add_special=not begins, parse_special=True)


HANDLERS: dict[str, Handler] = {
    "tokenize": tokenize,
    "complete": complete,
    "score": score,
    "likelihoods": likelihoods,
    "compare": compare,
    "keep_predictions": keep_predictions,
    "compare_kept": compare_kept,
    "write_logits": write_logits,
    "compare_logits": compare_logits,
    "measure": measure,
    "serve": serve_load,
    "time_decode": time_model,
    "idle_memory": idle_memory,
    "quantize": quantize_file,
    "importance": importance,
    "buffer_sizes": buffer_sizes,
    "load_projector": load_projector,
}

if __name__ == "__main__":
    serve(HANDLERS)
