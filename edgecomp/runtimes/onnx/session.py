"""One model loaded in ONNX Runtime: tokens in, logits of every position out, a cache to rewind.

Forgetting the end of a cache costs nothing: later positions are written over it, or cut off
(cache.py). Runs in a worker process only.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

from edgecomp.errors import RuntimeMissing, RuntimeRefused
from edgecomp.onnx.folder import GRAPH, TOKENIZER, OnnxFolder, read_onnx_folder
from edgecomp.onnx.formats import RUN_PROVIDERS
from edgecomp.runtimes.onnx.cache import GrowingCache, SharedCache
from edgecomp.runtimes.settings import RunSettings

Logits = NDArray[np.float32]


class Session:
    """A loaded model and one sequence."""

    def __init__(
        self, path: str, settings: RunSettings, *, spin: bool = False, provider: str = "cpu"
    ) -> None:
        """Load the ONNX folder at `path`. `spin`: threads wait for one another without sleeping.

        Raises RuntimeMissing for a provider that is not in this build, RuntimeRefused, and what
        `read_onnx_folder` raises.
        """
        self.settings = settings
        self.tokenizer = OnnxTokenizer(path)
        folder = self.tokenizer.folder
        self.held = 0
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = settings.threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "01"[spin])
        graph = str(Path(path) / GRAPH)
        try:
            self._session = onnxruntime.InferenceSession(
                graph, options, providers=[require_provider(provider)]
            )
        except Exception as error:
            # ONNX Runtime's exceptions have no base but Exception.
            if isinstance(error, RuntimeMissing):
                raise
            raise RuntimeRefused(f"ONNX Runtime cannot load {graph}: {error}") from error
        self._inputs = {row.name: row for row in self._session.get_inputs()}
        self._binding = self._session.io_binding()
        self._cache = self._make_cache(folder)
        self.vocabulary = int(self._session.get_outputs()[0].shape[-1])

    def _make_cache(self, folder: OnnxFolder) -> SharedCache | GrowingCache:
        shape = (1, folder.kv_heads, self.settings.context, folder.head_size)
        inputs = list(self._inputs.values())
        if folder.shares_cache:
            return SharedCache(self._binding, inputs, shape)
        return GrowingCache(inputs, shape)

    @property
    def cache_bytes(self) -> int:
        return self._cache.size_bytes

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *unused: object) -> None:
        """ONNX Runtime frees its memory with the object."""

    def tokenize(self, text: str, add_special: bool, parse_special: bool) -> list[int]:
        return self.tokenizer.ids(text, add_special, parse_special)

    def text(self, tokens: Sequence[int]) -> str:
        return self.tokenizer.text(tokens)

    def extend(self, tokens: Sequence[int]) -> Logits:
        """Run `tokens` after those held; logits float32 [tokens, vocabulary]. Raises RuntimeRefused
        where the context is full."""
        total = self.held + len(tokens)
        if total > self.settings.context:
            raise RuntimeRefused(
                f"{total} tokens do not fit into a context of {self.settings.context}."
            )
        if total > self.tokenizer.folder.context_length:
            raise RuntimeRefused(
                f"{total} tokens are more than the {self.tokenizer.folder.context_length} "
                "positions the model was trained for, and its graph has no more."
            )
        binding = self._binding
        binding.bind_cpu_input("input_ids", np.asarray([tokens], dtype=np.int64))
        binding.bind_cpu_input("attention_mask", np.ones((1, total), dtype=np.int64))
        if "position_ids" in self._inputs:
            positions = np.arange(self.held, total, dtype=np.int64)[None]
            binding.bind_cpu_input("position_ids", positions)
        self._cache.offer(binding, self.held)
        binding.bind_output("logits", "cpu")
        try:
            self._session.run_with_iobinding(binding)
        except Exception as error:
            raise RuntimeRefused(f"ONNX Runtime could not run {len(tokens)} tokens: {error}") from (
                error
            )
        self.held = total
        # Bound last, after the caches.
        *present, output = binding.get_outputs()
        self._cache.take(present)
        logits: Logits = output.numpy()[0]
        return logits.astype(np.float32, copy=False)

    def prefill(self, tokens: Sequence[int]) -> Logits:
        """Run `tokens`, a micro batch at a time; the last position's logits [vocabulary]."""
        step = self.settings.micro_batch
        last = np.empty(0, dtype=np.float32)
        for begin in range(0, len(tokens), step):
            last = self.extend(tokens[begin : begin + step])[-1]
        return last

    def rewind(self, length: int = 0) -> None:
        """Forget all but the first `length` tokens."""
        self.held = length


class OnnxTokenizer:
    """The tokenizer of an ONNX folder, and its end tokens."""

    def __init__(self, path: str) -> None:
        """Raises what `read_onnx_folder` raises."""
        self.folder = read_onnx_folder(Path(path))
        self._tokenizer = Tokenizer.from_file(str(Path(path) / TOKENIZER))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        begin = self._tokenizer.encode("", add_special_tokens=True).ids
        self.begin_text = (self._tokenizer.id_to_token(begin[0]) or "") if begin else ""

    def ids(self, text: str, add_special: bool, parse_special: bool) -> list[int]:
        """Token ids of `text`; `add_special` adds what the tokenizer adds to every text."""
        self._tokenizer.encode_special_tokens = not parse_special
        return list(self._tokenizer.encode(text, add_special_tokens=add_special).ids)

    def text(self, tokens: Sequence[int]) -> str:
        """The text of `tokens`, without special tokens."""
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=True))

    def ends_generation(self, token: int) -> bool:
        return token in self.folder.end_tokens


def require_provider(provider: str) -> str:
    """ONNX Runtime's name of a provider. Raises RuntimeMissing where this build lacks it."""
    name = RUN_PROVIDERS.get(provider)
    available = onnxruntime.get_available_providers()
    if name not in available:
        raise RuntimeMissing(
            f"The execution provider {provider} is not in this build of ONNX Runtime, which has "
            f"{', '.join(available)}. Install the package of ONNX Runtime that carries it."
        )
    return str(name)
