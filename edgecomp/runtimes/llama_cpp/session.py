"""One model loaded in llama.cpp, driven through its C interface.

Runs in a worker process only: llama.cpp aborts the whole process on some faults. The high-level
`Llama` class is passed over because evaluation needs several sequences in one batch and logits of
chosen rows only.
"""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr
from types import TracebackType
from typing import Any, Self

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from edgecomp.common.errors import RuntimeRefused
from edgecomp.models.tensor_types import TENSOR_TYPES
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.heard import Heard
from edgecomp.runtimes.llama_cpp.model_parameters import ModelParameters

LOADING_ERROR = re.compile(r"error loading model(?: \w+)?: (.+)")
FLASH_ATTENTION = {True: 1, False: 0}

Logits = NDArray[np.float32]
Position = tuple[int, int, tuple[int, ...], bool]
"""(token, position, sequences that hold it, wants logits)"""


class Session:
    """A loaded model and, unless only its vocabulary was asked for, a context."""

    def __init__(
        self,
        path: str,
        settings: RunSettings | None,
        *,
        allocate: bool = True,
        shares: bool = False,
        watch: Any = None,
    ) -> None:
        """Load the GGUF file at `path`; without settings, its vocabulary only.

        `allocate=False` sizes every buffer without taking the memory. `shares`: sequences will
        share what they hold; sliding layers then keep the whole context. `watch`: a callback of
        ggml's for every operation of the graph, which must outlive the session. Raises
        RuntimeRefused.
        """
        llama_cpp.llama_backend_init()
        parameters = ModelParameters(settings, allocate=allocate)
        with redirect_stderr(Heard(sys.stderr)) as heard:
            self._model = llama_cpp.llama_model_load_from_file(path.encode(), parameters.values)
        if not self._model:
            raise RuntimeRefused(
                f"llama.cpp cannot load {path}{_reason(heard.getvalue())}. Download or build it "
                f"again, or update llama-cpp-python (here {llama_cpp.__version__}) where the model "
                "is newer."
            )
        self.vocab = llama_cpp.llama_model_get_vocab(self._model)
        self.vocabulary = int(llama_cpp.llama_vocab_n_tokens(self.vocab))
        bos = llama_cpp.llama_vocab_bos(self.vocab)
        self.bos_text = self.piece(bos, special=True).decode(errors="replace") if bos >= 0 else ""
        adds = llama_cpp.llama_vocab_get_add_bos(self.vocab) and bos >= 0
        self.adds_bos: int | None = int(bos) if adds else None
        """The token that the file's tokenizer puts before every text."""

        self._context: Any = None
        if settings is not None:
            self.settings = settings
            self._open_context(path, settings, shares=shares, watch=watch)

    def _open_context(self, path: str, settings: RunSettings, *, shares: bool, watch: Any) -> None:
        parameters = llama_cpp.llama_context_default_params()
        parameters.n_ctx = settings.context
        parameters.n_batch = settings.micro_batch
        parameters.n_ubatch = settings.micro_batch
        parameters.n_seq_max = settings.sequences
        # One shared pool of cells: sequences may share a prefix and differ in length.
        parameters.kv_unified = True
        # Sliding layers keep their window, as llama-server has it. What left the window of a shared
        # prefix would take up cells that no sequence could reuse.
        parameters.swa_full = shares
        parameters.n_outputs_max = settings.outputs
        parameters.n_threads = settings.threads
        parameters.n_threads_batch = settings.threads
        parameters.type_k = TENSOR_TYPES[settings.key_type].ggml_id
        parameters.type_v = TENSOR_TYPES[settings.value_type].ggml_id
        parameters.offload_kqv = settings.kv_on_gpu
        parameters.flash_attn_type = FLASH_ATTENTION[settings.flash_attention]
        parameters.no_perf = True
        if watch is not None:
            parameters.cb_eval = watch
        self._context = llama_cpp.llama_init_from_model(self._model, parameters)
        if not self._context:
            raise RuntimeRefused(
                f"llama.cpp cannot open a context of {settings.context} for {path}."
            )
        self._memory = llama_cpp.llama_get_memory(self._context)
        self._batch = llama_cpp.llama_batch_init(settings.micro_batch, 0, settings.sequences)

    @property
    def model(self) -> Any:
        """llama.cpp's own handle of the model, which ends with the session."""
        return self._model

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """Token ids of `text`; `add_special` adds BOS/EOS as the file says."""
        raw = text.encode("utf-8")
        room = len(raw) + 8
        tokens = (llama_cpp.llama_token * room)()
        count = llama_cpp.llama_tokenize(
            self.vocab, raw, len(raw), tokens, room, add_special, parse_special
        )
        if count < 0:
            raise RuntimeRefused(f"llama.cpp cannot tokenize a text of {len(raw)} bytes.")
        return list(tokens[:count])

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """The bytes one token stands for."""
        room = 256
        buffer = (ctypes.c_char * room)()
        size = llama_cpp.llama_token_to_piece(self.vocab, token, buffer, room, 0, special)
        if size < 0:
            buffer = (ctypes.c_char * -size)()
            size = llama_cpp.llama_token_to_piece(self.vocab, token, buffer, -size, 0, special)
        return buffer.raw[:size]

    def text(self, tokens: Sequence[int]) -> str:
        """The text of `tokens`; broken UTF-8 shows as the replacement character."""
        return b"".join(self.piece(token) for token in tokens).decode("utf-8", errors="replace")

    def ends_generation(self, token: int) -> bool:
        return bool(llama_cpp.llama_vocab_is_eog(self.vocab, token))

    def decode(self, entries: Sequence[Position]) -> None:
        """Run one batch of at most `micro_batch` entries. Raises RuntimeRefused."""
        batch = self._batch
        batch.n_tokens = len(entries)
        for index, (token, position, sequences, wanted) in enumerate(entries):
            batch.token[index] = token
            batch.pos[index] = position
            batch.n_seq_id[index] = len(sequences)
            for place, sequence in enumerate(sequences):
                batch.seq_id[index][place] = sequence
            batch.logits[index] = wanted
        status = llama_cpp.llama_decode(self._context, batch)
        if status:
            raise RuntimeRefused(f"llama.cpp could not decode a batch (status {status}).")

    def logits(self, index: int) -> Logits:
        """Logits [vocabulary] of entry `index` of the last batch: a view, valid until the next."""
        pointer = llama_cpp.llama_get_logits_ith(self._context, index)
        return np.ctypeslib.as_array(pointer, shape=(self.vocabulary,))

    def prefill(self, tokens: Sequence[int], sequence: int = 0, start: int = 0) -> Logits:
        """Run `tokens` through one sequence; returns the last position's logits. Raises
        RuntimeRefused where there is nothing to run."""
        if not tokens:
            raise RuntimeRefused("A model needs at least one token to go on from.")
        step = self.settings.micro_batch
        last = len(tokens) - 1
        for begin in range(0, len(tokens), step):
            chunk = tokens[begin : begin + step]
            self.decode(
                [
                    (token, start + begin + i, (sequence,), begin + i == last)
                    for i, token in enumerate(chunk)
                ]
            )
        return self.logits(last % step)

    def clear(self) -> None:
        """Forget all sequences."""
        llama_cpp.llama_memory_clear(self._memory, False)  # noqa: FBT003 - a C function

    def forget(self, sequence: int, start: int = -1) -> None:
        """Forget a sequence from position `start` on."""
        llama_cpp.llama_memory_seq_rm(self._memory, sequence, start, -1)

    def share(self, source: int, target: int) -> None:
        """Let `target` hold all that `source` holds, without copying."""
        llama_cpp.llama_memory_seq_cp(self._memory, source, target, -1, -1)

    def close(self) -> None:
        if self._context:
            llama_cpp.llama_batch_free(self._batch)
            llama_cpp.llama_free(self._context)
            self._context = None
        if self._model:
            llama_cpp.llama_model_free(self._model)
            self._model = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _reason(log: str) -> str:
    """Why llama.cpp could not load a model, as far as it said."""
    said = LOADING_ERROR.findall(log)
    return f": {said[-1].rstrip('.')}" if said else ""
