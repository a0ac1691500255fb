"""The worker process: answers edgecomp's requests with ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgecomp.common.events import Progress
from edgecomp.processes.child import serve
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes import meter
from edgecomp.runtimes.answers import to_completions
from edgecomp.runtimes.divergence import Reader, windows_of
from edgecomp.runtimes.divergence import compare as compare_windows
from edgecomp.runtimes.onnx import generate, reading
from edgecomp.runtimes.onnx.session import OnnxTokenizer, Session
from edgecomp.runtimes.onnx.time_decode import time_decode
from edgecomp.runtimes.predictions import compare_kept as compare_with_kept
from edgecomp.runtimes.predictions import keep
from edgecomp.runtimes.process_memory import process_memory
from edgecomp.runtimes.protocol import Timing
from edgecomp.runtimes.splitting import split_choices

READER = Reader(reading.start, reading.rows)


def tokenize(
    path: str, texts: list[str], progress: Progress, *, add_special: bool, parse_special: bool
) -> list[list[int]]:
    tokenizer = OnnxTokenizer(path)
    return [
        tokenizer.ids(text, add_special=add_special, parse_special=parse_special) for text in texts
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
    session = Session(path, RunSettings.model_validate(settings))
    tokens = [session.tokenizer.prompt(prompt) for prompt in prompts]
    written = generate.generate(session, tokens, limits, stops, progress)
    return to_completions(written, limits, session.tokenizer)


def score(
    path: str,
    settings: dict[str, Any],
    questions: list[tuple[str, list[str]]],
    progress: Progress,
) -> list[list[tuple[float, bool]]]:
    """Log-likelihood in nats of each choice after its context, and whether it is greedy."""
    session = Session(path, RunSettings.model_validate(settings))
    split = [
        split_choices(session.tokenizer.prompt, context, choices) for context, choices in questions
    ]
    return reading.score_choices(session, split, progress)


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
    first, second = Session(base, chosen), Session(artifact, chosen)
    tokens = first.tokenizer.ids(text, add_special=False, parse_special=False)
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
    chosen = RunSettings.model_validate(settings)
    session = Session(base, chosen)
    tokens = session.tokenizer.ids(text, add_special=False, parse_special=False)
    read = windows_of(tokens, *windows)
    return keep(session, read, READER, chosen.outputs, Path(folder), progress)


def compare_kept(
    predictions: str, artifact: str, settings: dict[str, Any], progress: Progress
) -> dict[str, Any]:
    """Divergence of `artifact` from what was kept of its base."""
    chosen = RunSettings.model_validate(settings)
    session = Session(artifact, chosen)
    return compare_with_kept(Path(predictions), session, READER, chosen.outputs, progress)


def measure(
    path: str, settings: dict[str, Any], text: str, timing: dict[str, Any], progress: Progress
) -> dict[str, Any]:
    chosen = RunSettings.model_validate(settings)
    return meter.measure(
        lambda: Session(path, chosen, spin=True),
        time_decode,
        text,
        Timing.model_validate(timing),
        progress,
        # ONNX Runtime reports no buffers of its own; the cache is the one we hand it.
        buffers=lambda session: {"kv": session.cache_bytes},
    )


def time_model(
    path: str, settings: dict[str, Any], timing: dict[str, Any], progress: Progress
) -> list[list[dict[str, Any]]]:
    chosen, wanted = RunSettings.model_validate(settings), Timing.model_validate(timing)
    return meter.time_model(lambda: Session(path, chosen, spin=True), time_decode, wanted)


def idle_memory(progress: Progress) -> dict[str, int]:
    """What this process takes before any model is loaded."""
    return process_memory().model_dump()


if __name__ == "__main__":
    serve(
        {
            "tokenize": tokenize,
            "complete": complete,
            "score": score,
            "compare": compare,
            "keep_predictions": keep_predictions,
            "compare_kept": compare_kept,
            "measure": measure,
            "time_decode": time_model,
            "idle_memory": idle_memory,
        }
    )
