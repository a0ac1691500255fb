"""What a student learns from, computed once: the teacher's top-k log-probabilities and states.

The teacher streams through memory block by block (blocks.py), so it may be larger than the memory.
Per position the k likeliest tokens and their log-probabilities at the temperature are kept; the
rest of the distribution is the mass they leave. Files, memory-mapped when read: `ids.npy` int32 and
`log_probabilities.npy` float16, [samples, length, k]; `middle.npy` and `last.npy` float16 [samples,
length, width], the states halfway down and before the output head.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.lib.format import open_memmap
from torch import Tensor
from transformers import AutoConfig

from edgecomp.common.atomic import write_text
from edgecomp.common.errors import ArchitectureUnsupported, CompressionSettingsInvalid
from edgecomp.common.events import Progress, ignore_progress
from edgecomp.compress import destination as output
from edgecomp.compress.blocks import Block, walk
from edgecomp.compress.checkpoint import find_stored, read_tensor
from edgecomp.models.huggingface.model import read_json, stored_tensors
from edgecomp.models.safetensors_header import StoredTensor

DONE = "targets.json"
HEADS = ("lm_head.weight", "model.embed_tokens.weight", "transformer.wte.weight")
"""The output head's weight; a tied model stores its embedding only."""


class Targets:
    """The cached targets in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        settings = read_json(folder / DONE)
        self.temperature = float(settings["temperature"])
        self._arrays = {
            name: np.load(folder / f"{name}.npy", mmap_mode="r")
            for name in ("ids", "log_probabilities", "middle", "last")
        }

    def batch(self, samples: Tensor) -> dict[str, Tensor]:
        """The targets of these samples, int64 [n]: arrays by name, floats as float32."""
        chosen = {name: torch.from_numpy(a[samples.numpy()]) for name, a in self._arrays.items()}
        return {n: t.long() if n == "ids" else t.float() for n, t in chosen.items()}


class TargetKind(NamedTuple):
    """Log-probabilities of the `top_k` likeliest tokens at `temperature`."""

    top_k: int = 64
    temperature: float = 1.0


TOP_64 = TargetKind()


def cache_targets(
    teacher: Path,
    tokens: Tensor,
    folder: Path,
    kind: TargetKind = TOP_64,
    *,
    device: str = "cpu",
    progress: Progress = ignore_progress,
) -> Targets:
    """Compute, or take from an earlier run, the targets of `teacher` on tokens int64 [samples,
    length]. Raises what `walk` raises."""
    top_k, temperature = kind
    config = AutoConfig.from_pretrained(teacher).get_text_config()
    if not 0 < top_k <= config.vocab_size or temperature <= 0:
        raise CompressionSettingsInvalid(
            f"Top {top_k} at temperature {temperature} is no target. Give 1 to "
            f"{config.vocab_size:,} tokens and a temperature above 0."
        )
    stored = stored_tensors(teacher)
    job = f"targets top {top_k} at {temperature}"
    fingerprint = output.fingerprint(stored, tokens, job, None)
    if (folder / DONE).is_file() and read_json(folder / DONE)["fingerprint"] == fingerprint:
        return Targets(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DONE).unlink(missing_ok=True)
    shape, width = tuple(tokens.shape), int(config.hidden_size)

    def array(name: str, dtype: str, last: int) -> np.memmap[tuple[int, ...], np.dtype[np.void]]:
        return open_memmap(folder / f"{name}.npy", "w+", dtype, (*shape, last))

    ids, log_probabilities = array("ids", "int32", top_k), array("log_probabilities", "f2", top_k)
    middle, last = array("middle", "f2", width), array("last", "f2", width)
    head = _head(stored, tied=bool(config.tie_word_embeddings)).to(device, torch.float32)
    cap = getattr(config, "final_logit_softcapping", None)
    done = 0

    def halfway(block: Block) -> None:
        if block.index == config.num_hidden_layers // 2:
            middle[:] = block.hidden.numpy().astype(np.float16)

    def finish(states: Tensor) -> None:
        nonlocal done
        rows = slice(done, done + len(states))
        logits = states @ head.T
        logits = (cap * torch.tanh(logits / cap) if cap else logits) / temperature
        best = torch.log_softmax(logits, dim=-1).topk(top_k, dim=-1)
        ids.reshape(-1, top_k)[rows] = best.indices.cpu().numpy()
        log_probabilities.reshape(-1, top_k)[rows] = best.values.cpu().numpy()
        last.reshape(-1, width)[rows] = states.cpu().numpy()
        done += len(states)

    walk(teacher, tokens, halfway, final=finish, device=device, progress=progress)
    for written in (ids, log_probabilities, middle, last):
        written.flush()
    record = {"schema_version": 1, "fingerprint": fingerprint, "temperature": temperature}
    write_text(folder / DONE, json.dumps(record) + "\n")
    return Targets(folder)


def _head(stored: dict[str, StoredTensor], *, tied: bool) -> Tensor:
    for name in HEADS[1:] if tied else HEADS[:1]:
        try:
            return read_tensor(find_stored(stored, name))
        except ArchitectureUnsupported:
            continue
    raise ArchitectureUnsupported("of the teacher (no output head)", "distilled from", list(HEADS))
