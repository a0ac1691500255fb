"""llama.cpp as a runtime: what it can do beside what every runtime can."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgecomp.common.errors import ChildDied, ChildHung, ChildKilledByMemory, RuntimeRefused
from edgecomp.common.events import Progress, ignore_progress
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.common.machine_limits import physical_cores
from edgecomp.common.package_versions import LLAMA_CPP_PACKAGE
from edgecomp.processes.child import Child
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.llama_cpp.types_to_make import Types
from edgecomp.runtimes.logits_file import read_logits_file
from edgecomp.runtimes.protocol import DivergenceSamples, Windows
from edgecomp.runtimes.worker_client import ServingRuntime

BUFFER = re.compile(r"(\S+) +(model|KV|RS|compute|output) +buffer size = +([\d.]+) MiB")
"""`RS` are recurrent states, which are kept as a cache is."""

CELLS_STEP = 256
"""llama.cpp pads a context to a multiple of this many tokens."""

HOST = "host"
"""The system's memory, whatever part of llama.cpp took it."""

ASSERTION = re.compile(r"GGML_ASSERT\(.*\) failed")
SIGNAL = re.compile(r"SIG[A-Z]+")


class ProjectorLoaded(FrozenModel):
    """What llama.cpp says of a projector that it loaded."""

    vision: bool
    audio: bool
    compute_bytes: int
    """What it reserves to read one picture or sound of its usual size, beside the weights."""


class LlamaCpp(ServingRuntime):
    """The runtime `llama.cpp`."""

    name = "llama.cpp"
    worker = "edgecomp.runtimes.llama_cpp"
    package = LLAMA_CPP_PACKAGE

    def reported_buffers(self, log: str) -> dict[str, int]:
        return reported_buffers(log)

    def reported_devices(self, log: str) -> dict[str, int]:
        return reported_devices(log)

    def quantize(
        self,
        source: Path,
        destination: Path,
        types: Types,
        *,
        threads: int,
        progress: Progress = ignore_progress,
    ) -> None:
        """Quantize a GGUF by llama.cpp's own quantizer."""
        self.ask(
            "quantize",
            progress,
            source=str(source),
            destination=str(destination),
            types=types.model_dump(mode="json"),
            threads=threads,
        )

    def likelihoods(
        self,
        artifact: Path,
        settings: RunSettings,
        rows: Sequence[tuple[Sequence[int], Sequence[int]]],
        progress: Progress = ignore_progress,
    ) -> list[list[float]]:
        """The log-likelihood in nats of each token that follows a prompt, of prompts and what
        follows them as token ids."""
        found: list[list[float]] = self.ask(
            "likelihoods",
            progress,
            path=str(artifact),
            settings=settings.model_dump(),
            rows=[[list(prompt), list(rest)] for prompt, rest in rows],
        )
        return found

    def write_logits(
        self,
        base: Path,
        settings: RunSettings,
        text: str,
        *,
        windows: Windows,
        destination: Path,
        progress: Progress = ignore_progress,
    ) -> None:
        """Write what `base` predicts over windows of `text` as llama.cpp's perplexity tool does
        with `--kl-divergence-base`: about two bytes a token of the vocabulary and scored token."""
        self.ask(
            "write_logits",
            progress,
            base=str(base),
            settings=settings.model_dump(),
            text=text,
            windows=windows,
            destination=str(destination),
        )

    def compare_logits(
        self,
        logits: Path,
        artifact: Path,
        settings: RunSettings,
        progress: Progress = ignore_progress,
    ) -> DivergenceSamples:
        """Divergence of `artifact` from the model that wrote such a file, over all its chunks; the
        settings' context must hold one. Raises FileCorrupt or FileTruncated."""
        read_logits_file(logits)
        answer = self.ask(
            "compare_logits",
            progress,
            logits=str(logits),
            artifact=str(artifact),
            settings=settings.model_dump(),
        )
        return DivergenceSamples.model_validate(answer)

    def importance(
        self,
        source: Path,
        tokens: Path,
        destination: Path,
        *,
        datasets: Sequence[str],
        threads: int,
        progress: Progress = ignore_progress,
    ) -> None:
        """Write the importance matrix of a float GGUF file; `tokens` is an .npy file of ids, int64
        [rows, length], which calibrate."""
        length = int(np.load(tokens, mmap_mode="r").shape[1])
        settings = RunSettings(
            context=whole_cells(length),
            micro_batch=CELLS_STEP,
            outputs=CELLS_STEP,
            threads=threads,
        )
        self.ask(
            "importance",
            progress,
            path=str(source),
            tokens=str(tokens),
            settings=settings.model_dump(),
            destination=str(destination),
            datasets=list(datasets),
        )

    def buffers(
        self, artifact: Path, settings: RunSettings, *, allocate: bool = True
    ) -> dict[str, int]:
        """Bytes of each kind of buffer as llama.cpp reports them, to a hundredth of a MiB.

        Without `allocate` the memory is not taken; weights and KV cache are then reported as 0.
        """
        with Child(self.worker) as child:
            child.call(
                "buffer_sizes",
                path=str(artifact),
                settings=settings.model_dump(),
                allocate=allocate,
            )
            return reported_buffers(child.log_text())

    def load_projector(self, projector: Path, text_model: Path) -> ProjectorLoaded:
        """Load a projector beside its text model, of which no weights are. Raises RuntimeRefused
        where llama.cpp refuses it or dies of it, RuntimeMissing where this build cannot tell."""
        settings = RunSettings(context=CELLS_STEP, threads=physical_cores())
        with Child(self.worker) as child:
            try:
                answer = child.call(
                    "load_projector",
                    path=str(projector),
                    text_model=str(text_model),
                    settings=settings.model_dump(),
                )
            except (ChildKilledByMemory, ChildHung):
                raise
            except ChildDied as error:
                found = ASSERTION.search(child.log_text()) or SIGNAL.search(str(error))
                reason = found[0] if found else "it gave no reason"
                raise RuntimeRefused(
                    f"llama.cpp ends its process when it loads the projector {projector}: {reason}."
                ) from error
        return ProjectorLoaded.model_validate(answer)


def whole_cells(tokens: int) -> int:
    """The context that llama.cpp opens for so many tokens."""
    return -(-tokens // CELLS_STEP) * CELLS_STEP


def reported_buffers(log: str) -> dict[str, int]:
    """Bytes of weights, KV cache with states, compute and output buffers, summed over devices, from
    a log."""
    totals: dict[str, int] = {}
    for _, kind, mebibytes in BUFFER.findall(log):
        name = {"model": "weights", "KV": "kv", "RS": "kv"}.get(kind, kind)
        totals[name] = totals.get(name, 0) + round(float(mebibytes) * 2**20)
    return totals


def reported_devices(log: str) -> dict[str, int]:
    """Bytes of all buffers on each card, by llama.cpp's own name for it in the order of their
    numbers, and in the system's memory."""
    totals: dict[str, int] = {}
    for buffer, _, mebibytes in BUFFER.findall(log):
        # CUDA0, MTL0_Mapped and RPC0[address] are cards; CPU_REPACK and CUDA_Host are not. Each
        # address counts its devices anew.
        device = re.match(r"[^_\[]*(?:\[[^]]*\])?", buffer)
        name = device[0] if device else buffer
        name = HOST if name == "CPU" or buffer.endswith("_Host") else name
        totals[name] = totals.get(name, 0) + round(float(mebibytes) * 2**20)
    cards = sorted((name for name in totals if name != HOST), key=lambda name: (len(name), name))
    return {name: totals[name] for name in (*cards, HOST) if name in totals}
