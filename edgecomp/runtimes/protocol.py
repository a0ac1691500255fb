"""What every runtime can do; the rest of edgecomp speaks to runtimes only in these words.

A runtime is an object found by the entry-point group `edgecomp.runtimes` under its name. Its native
library runs in a child process, so each call may raise ChildDied, ChildKilledByMemory, ChildHung
or RuntimeRefused.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from pydantic import Field

from edgecomp.common.errors import RuntimeMissing
from edgecomp.common.events import Progress, ignore_progress
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.process_memory import ProcessMemory


class Completion(FrozenModel):
    """What a model wrote after one prompt: token ids and their text, without the end token."""

    tokens: tuple[int, ...]
    text: str
    ended: bool
    """True where the model ended by itself, False where the limit cut it off."""


class ChoiceScore(FrozenModel):
    """How likely a model holds a choice to be after its context."""

    loglikelihood: float
    """Nats."""

    greedy: bool
    """Each of its tokens is the most likely one, so greedy decoding writes it."""


class DivergenceSamples(FrozenModel):
    """Figures of each scored token, grouped by window: [windows][scored tokens], nats.

    `kl`: divergence of artifact from base; `agree`: 1.0 where both have the same first choice;
    `base_nll`, `artifact_nll`: negative log-likelihood of the token that really follows.
    """

    kl: tuple[tuple[float, ...], ...]
    agree: tuple[tuple[float, ...], ...]
    base_nll: tuple[tuple[float, ...], ...]
    artifact_nll: tuple[tuple[float, ...], ...]


class TimedRun(FrozenModel):
    """One repeat at one depth: seconds of tokenization, of prefill, and of each decoded token."""

    tokenize_seconds: float
    prefill_seconds: float
    token_seconds: tuple[float, ...]


class DepthRuns(FrozenModel):
    """The repeats with `depth` tokens already in the context."""

    depth: int
    runs: tuple[TimedRun, ...]


class RawMeasurement(FrozenModel):
    """What a fresh worker saw while it loaded and timed one artifact."""

    load_seconds: float
    started_memory: ProcessMemory
    """Before the model was loaded: what the worker itself takes."""

    loaded_memory: ProcessMemory
    peak_memory: ProcessMemory
    memory_timeline: tuple[tuple[float, int, int], ...]
    """(seconds since the worker began to load, anonymous bytes, file-backed bytes)."""

    buffer_bytes: dict[str, int]
    """Buffers the runtime itself reports: `weights`, `kv`, `compute`, `output`."""

    device_bytes: dict[str, int] = Field(default={})
    """The same buffers by where they lie: each card by the runtime's name for it, then `host`."""

    depths: tuple[DepthRuns, ...]


class Windows(NamedTuple):
    """The first `number` windows of a text, of `tokens` tokens each."""

    tokens: int
    number: int


class Timing(FrozenModel):
    """What is timed: at each depth (tokens already in the context) `repeats` times the prefill, and
    `decode_tokens` tokens after it."""

    depths: tuple[int, ...]
    decode_tokens: int
    repeats: int


class Runtime(Protocol):
    """One inference library."""

    name: str

    def version(self) -> str:
        """The library's version."""

    def notes(self, artifact: Path) -> tuple[str, ...]:
        """What its user should know of how an artifact is run here, one sentence each; none where
        it is run as it is. Raises RuntimeRefused where it cannot be."""

    def tokenize(
        self, artifact: Path, texts: Sequence[str], *, add_special: bool, parse_special: bool
    ) -> list[list[int]]:
        """Token ids of each text, by the artifact's own tokenizer."""

    def complete(
        self,
        artifact: Path,
        settings: RunSettings,
        prompts: Sequence[str],
        limits: Sequence[int],
        progress: Progress = ignore_progress,
        *,
        stops: Sequence[Sequence[str]] = (),
    ) -> list[Completion]:
        """Greedy continuations. A prompt's text may hold special tokens; BOS is added as the
        artifact says, unless the prompt begins with it. `stops`: by prompt, strings after the first
        of which nothing is wanted; the text ends with the token that completes it."""

    def score(
        self,
        artifact: Path,
        settings: RunSettings,
        questions: Sequence[tuple[str, Sequence[str]]],
        progress: Progress = ignore_progress,
    ) -> list[list[ChoiceScore]]:
        """The score of each choice's text after its context's."""

    def compare(
        self,
        base: Path,
        artifact: Path,
        settings: RunSettings,
        text: str,
        *,
        windows: Windows,
        progress: Progress = ignore_progress,
    ) -> DivergenceSamples:
        """Divergence of `artifact` from `base` over windows of `text`.

        The KV cache's type in `settings` is the artifact's: the base's stays exact.
        """

    def keep_predictions(
        self,
        base: Path,
        settings: RunSettings,
        text: str,
        *,
        windows: Windows,
        folder: Path,
        progress: Progress = ignore_progress,
    ) -> bool:
        """Keep in `folder` what `base` predicts over windows of `text`, whole or not at all, for
        `compare_kept` with the same `settings` but for the KV cache's type. False where that would
        take too much room: then there is no such folder."""

    def compare_kept(
        self,
        predictions: Path,
        artifact: Path,
        settings: RunSettings,
        progress: Progress = ignore_progress,
    ) -> DivergenceSamples:
        """What `compare` finds, from the kept predictions of the base, which is not loaded: each
        token's divergence within 1e-5 nats or a thousandth of itself."""

    def measure(
        self,
        artifact: Path,
        settings: RunSettings,
        text: str,
        timing: Timing,
        *,
        progress: Progress = ignore_progress,
    ) -> RawMeasurement:
        """Load and time the artifact in a fresh process."""


def find_runtime(name: str) -> Runtime:
    """The runtime called `name`. Raises RuntimeMissing."""
    found = importlib.metadata.entry_points(group="edgecomp.runtimes")
    if name not in found.names:
        known = ", ".join(sorted(found.names)) or "none"
        raise RuntimeMissing(f"There is no runtime called {name!r} here. Installed: {known}.")
    runtime: Runtime = found[name].load()
    return runtime
