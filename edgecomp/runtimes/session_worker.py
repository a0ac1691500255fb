"""What a worker answers whose library is driven as sessions: a loaded model and a folder's own
tokenizer. llama.cpp's worker decodes several sequences at once and has its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from edgecomp.common.events import Progress
from edgecomp.processes.child import Handler
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes import meter
from edgecomp.runtimes.answers import to_completions
from edgecomp.runtimes.divergence import Reader, compare, windows_of
from edgecomp.runtimes.predictions import compare_kept, keep
from edgecomp.runtimes.process_memory import process_memory
from edgecomp.runtimes.protocol import Timing
from edgecomp.runtimes.splitting import split_choices


class FolderTokenizer(Protocol):
    """The tokenizer of a model's folder."""

    def ids(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]: ...

    def prompt(self, text: str) -> list[int]:
        """Token ids of a prompt that may write its own BOS."""

    def text(self, tokens: Sequence[int]) -> str: ...

    def ends_generation(self, token: int) -> bool: ...


class FolderSession(meter.Reader, Protocol):
    """A loaded model."""

    vocabulary: int

    @property
    def tokenizer(self) -> FolderTokenizer: ...


Session = TypeVar("Session", bound=FolderSession)
Tokens = Sequence[int]
Questions = Sequence[tuple[Tokens, Sequence[Tokens]]]


@dataclass(frozen=True)
class Library(Generic[Session]):
    """How one library loads a folder, reads, writes and is timed."""

    tokenizer: Callable[[str], FolderTokenizer]
    load: Callable[[str, RunSettings], Session]
    load_to_time: Callable[[str, RunSettings], AbstractContextManager[Session]]
    generate: Callable[
        [Session, Sequence[Tokens], Sequence[int], Sequence[Sequence[str]], Progress],
        list[list[int]],
    ]
    score_choices: Callable[[Session, Questions, Progress], list[list[tuple[float, bool]]]]
    reader: Reader[Session]
    time_decode: meter.TimeDecode[Session]
    buffers: Callable[[Session], dict[str, int]]

    def handlers(self) -> dict[str, Handler]:
        """What `processes.child.serve` takes."""
        return {
            "tokenize": self.tokenize,
            "complete": self.complete,
            "score": self.score,
            "compare": self.compare,
            "keep_predictions": self.keep_predictions,
            "compare_kept": self.compare_kept,
            "measure": self.measure,
            "time_decode": self.time_model,
            "idle_memory": idle_memory,
        }

    def tokenize(
        self, path: str, texts: list[str], progress: Progress, **special: bool
    ) -> list[list[int]]:
        tokenizer = self.tokenizer(path)
        return [tokenizer.ids(text, **special) for text in texts]

    def complete(
        self,
        path: str,
        settings: dict[str, Any],
        prompts: list[str],
        limits: list[int],
        stops: list[list[str]],
        progress: Progress,
    ) -> list[dict[str, Any]]:
        """Greedy completions: token ids and text. Prompts hold their own special tokens' text."""
        session = self.load(path, RunSettings.model_validate(settings))
        tokens = [session.tokenizer.prompt(prompt) for prompt in prompts]
        written = self.generate(session, tokens, limits, stops, progress)
        return to_completions(written, limits, session.tokenizer)

    def score(
        self,
        path: str,
        settings: dict[str, Any],
        questions: list[tuple[str, list[str]]],
        progress: Progress,
    ) -> list[list[tuple[float, bool]]]:
        """Log-likelihood in nats of each choice after its context, and whether it is greedy."""
        session = self.load(path, RunSettings.model_validate(settings))
        prompt = session.tokenizer.prompt
        split = [split_choices(prompt, context, choices) for context, choices in questions]
        return self.score_choices(session, split, progress)

    def compare(
        self,
        base: str,
        artifact: str,
        settings: dict[str, Any],
        text: str,
        windows: tuple[int, int],
        progress: Progress,
    ) -> dict[str, Any]:
        """Divergence of `artifact` from `base` over `windows` (tokens, count) of `text`."""
        chosen = RunSettings.model_validate(settings)
        first, second = self.load(base, chosen), self.load(artifact, chosen)
        read = _windows(first, text, windows)
        return compare(first, second, read, self.reader, chosen.outputs, progress)

    def keep_predictions(
        self,
        base: str,
        settings: dict[str, Any],
        text: str,
        windows: tuple[int, int],
        folder: str,
        progress: Progress,
    ) -> bool:
        """Keep what `base` predicts over `windows` (tokens, count) of `text`, unless it is too
        much."""
        chosen = RunSettings.model_validate(settings)
        session = self.load(base, chosen)
        read = _windows(session, text, windows)
        return keep(session, read, self.reader, chosen.outputs, Path(folder), progress)

    def compare_kept(
        self, predictions: str, artifact: str, settings: dict[str, Any], progress: Progress
    ) -> dict[str, Any]:
        """Divergence of `artifact` from what was kept of its base."""
        chosen = RunSettings.model_validate(settings)
        session = self.load(artifact, chosen)
        return compare_kept(Path(predictions), session, self.reader, chosen.outputs, progress)

    def measure(
        self,
        path: str,
        settings: dict[str, Any],
        text: str,
        timing: dict[str, Any],
        progress: Progress,
    ) -> dict[str, Any]:
        chosen = RunSettings.model_validate(settings)
        return meter.measure(
            lambda: self.load_to_time(path, chosen),
            self.time_decode,
            text,
            Timing.model_validate(timing),
            progress,
            buffers=self.buffers,
        )

    def time_model(
        self, path: str, settings: dict[str, Any], timing: dict[str, Any], progress: Progress
    ) -> list[list[dict[str, Any]]]:
        chosen, wanted = RunSettings.model_validate(settings), Timing.model_validate(timing)
        return meter.time_model(lambda: self.load_to_time(path, chosen), self.time_decode, wanted)


def _windows(session: FolderSession, text: str, windows: tuple[int, int]) -> list[Sequence[int]]:
    tokens = session.tokenizer.ids(text, add_special=False, parse_special=False)
    return windows_of(tokens, *windows)


def idle_memory(progress: Progress) -> dict[str, int]:
    """What this process takes before any model is loaded."""
    return process_memory().model_dump()
