"""One model loaded in ONNX Runtime: tokens in, logits of every position out, a cache to rewind.

Forgetting the end of a cache costs nothing: later positions are written over it, or cut off
(cache.py). What several prompts begin with is run once. Runs in a worker process only.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

from edgecomp.common.errors import RuntimeMissing, RuntimeRefused
from edgecomp.formats.execution_providers import execution_provider, how_to_get
from edgecomp.models.onnx_folder import GRAPH, TOKENIZER, read_onnx_folder
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.onnx.cache import GrowingCache, SharedCache
from edgecomp.runtimes.splitting import common

Logits = NDArray[np.float32]


class Session:
    """A loaded model and the sequences it holds, numbered from 0."""

    def __init__(
        self, path: str, settings: RunSettings, *, spin: bool = False, provider: str = "cpu"
    ) -> None:
        """Load the ONNX folder at `path`. `spin`: threads wait for one another without sleeping.

        Raises RuntimeMissing for a provider that is not in this build, RuntimeRefused, and what
        `read_onnx_folder` raises.
        """
        self.settings = settings
        self.tokenizer = OnnxTokenizer(path)
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
        self.divide(1)
        self.vocabulary = int(self._session.get_outputs()[0].shape[-1])

    def divide(self, sequences: int) -> None:
        """Forget all, and let each of so many sequences have its share of the context. More than
        one only where the graph `takes_several`."""
        folder, inputs = self.tokenizer.folder, list(self._inputs.values())
        self._held: list[list[int]] = [[] for _ in range(sequences)]
        make = SharedCache if folder.shares_cache else GrowingCache
        self._cache: SharedCache | GrowingCache = make(
            inputs, (sequences, folder.kv_heads, self.room, folder.head_size)
        )

    @property
    def sequences(self) -> int:
        return len(self._held)

    @property
    def takes_several(self) -> bool:
        """Whether sequences of several lengths can run together: operators that know each one's
        length, or positions that are given beside the mask."""
        return self.tokenizer.folder.shares_cache or "position_ids" in self._inputs

    @property
    def room(self) -> int:
        """Positions of each sequence."""
        return self.settings.context // self.sequences

    @property
    def cache_bytes(self) -> int:
        return self._cache.size_bytes

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *unused: object) -> None:
        """ONNX Runtime frees its memory with the object."""

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        return self.tokenizer.ids(text, add_special=add_special, parse_special=parse_special)

    def text(self, tokens: Sequence[int]) -> str:
        return self.tokenizer.text(tokens)

    def extend(self, tokens: Sequence[int], sequence: int = 0) -> Logits:
        """Run `tokens` after those held; logits float32 [tokens, vocabulary]. Raises RuntimeRefused
        where the context is full."""
        logits: Logits = self._run([tokens], sequence)[0]
        return logits

    def extend_each(self, tokens: Sequence[int]) -> Logits:
        """Run one token after those held by each of the first sequences; logits float32
        [sequences, vocabulary]. Raises RuntimeRefused where a context is full."""
        logits: Logits = self._run([[token] for token in tokens], 0)[:, 0]
        return logits

    def _run(self, tokens: Sequence[Sequence[int]], first: int) -> Logits:
        """Run as many tokens each after those held by neighbouring sequences; logits float32
        [sequences, tokens, vocabulary]. More than one token only for a single sequence: so have
        it the graphs' operators once something is held."""
        sequences = slice(first, first + len(tokens))
        held = [len(row) for row in self._held[sequences]]
        totals = [before + len(row) for before, row in zip(held, tokens, strict=True)]
        longest = max(totals)
        self._require_room(longest)
        binding = self._binding
        binding.bind_cpu_input("input_ids", np.asarray(tokens, dtype=np.int64))
        binding.bind_cpu_input("attention_mask", self._cache.seen(totals).astype(np.int64))
        if "position_ids" in self._inputs:
            positions = [range(before, total) for before, total in zip(held, totals, strict=True)]
            binding.bind_cpu_input("position_ids", np.asarray(positions, dtype=np.int64))
        self._cache.offer(binding, sequences, held)
        binding.bind_output("logits", "cpu")
        try:
            self._session.run_with_iobinding(binding)
        except Exception as error:
            raise RuntimeRefused(
                f"ONNX Runtime could not run {len(tokens[0])} tokens: {error}"
            ) from error
        for row, new in zip(self._held[sequences], tokens, strict=True):
            row.extend(new)
        # Bound last, after the caches.
        *present, output = binding.get_outputs()
        self._cache.take(present, sequences, totals)
        logits: Logits = output.numpy()
        return logits.astype(np.float32, copy=False)

    def _require_room(self, total: int) -> None:
        if total > self.room:
            raise RuntimeRefused(f"{total} tokens do not fit into a context of {self.room}.")
        if total > self.tokenizer.folder.context_length:
            raise RuntimeRefused(
                f"{total} tokens are more than the {self.tokenizer.folder.context_length} "
                "positions the model was trained for, and its graph has no more."
            )

    def prefill(self, tokens: Sequence[int], sequence: int = 0) -> Logits:
        """Have a sequence hold `tokens` and nothing else; the last position's logits [vocabulary].

        What a sequence already holds of their beginning is not run again, the rest a micro batch
        at a time. Raises RuntimeRefused where there is nothing to run.
        """
        if not tokens:
            raise RuntimeRefused("A model needs at least one token to go on from.")
        step = self.settings.micro_batch
        last = np.empty(0, dtype=np.float32)
        for begin in range(self._recall(tokens, sequence), len(tokens), step):
            last = self.extend(tokens[begin : begin + step], sequence)[-1]
        return last

    def _recall(self, tokens: Sequence[int], sequence: int) -> int:
        """Have a sequence hold no more than what any holds of the beginning of `tokens`; how many
        these are. The last token is left to be run, for its logits."""
        known = [min(common(row, tokens), len(tokens) - 1) for row in self._held]
        source = max(range(len(known)), key=lambda index: (known[index], index == sequence))
        if source != sequence:
            self.copy(source, sequence, known[source])
        self.rewind(known[source], sequence)
        return known[source]

    def copy(self, source: int, target: int, length: int | None = None) -> None:
        """Let `target` hold what `source` does, or its first `length` tokens, and nothing else."""
        self._held[target] = self._held[source][:length]
        self._cache.copy(source, target, len(self._held[target]))

    def rewind(self, length: int = 0, sequence: int = 0) -> None:
        """Forget all of a sequence but its first `length` tokens."""
        del self._held[sequence][length:]


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

    def ids(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """Token ids of `text`; `add_special` adds what the tokenizer adds to every text."""
        self._tokenizer.encode_special_tokens = not parse_special
        return list(self._tokenizer.encode(text, add_special_tokens=add_special).ids)

    def prompt(self, text: str) -> list[int]:
        """Token ids of a prompt. A chat template may write BOS itself: none is added then, since
        the model has never seen two of them in a row."""
        begins = bool(self.begin_text) and text.startswith(self.begin_text)
        return self.ids(text, add_special=not begins, parse_special=True)

    def text(self, tokens: Sequence[int]) -> str:
        """The text of `tokens`, without special tokens."""
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=True))

    def ends_generation(self, token: int) -> bool:
        return token in self.folder.end_tokens


def require_provider(name: str) -> str:
    """ONNX Runtime's name of a provider. Raises CompressionSettingsInvalid for one that is none,
    RuntimeMissing where this build lacks it."""
    provider = execution_provider(name)
    available = onnxruntime.get_available_providers()
    if provider.runtime_name not in available:
        raise RuntimeMissing(
            f"The execution provider {name} is not in this build of ONNX Runtime, which has "
            f"{', '.join(available)}. To have it: {how_to_get(provider)}."
        )
    return provider.runtime_name
