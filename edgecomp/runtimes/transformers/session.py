"""One model loaded in transformers: tokens in, logits of every position out, a cache to rewind.

The cache holds floats of the model's own type, whatever the settings say of it. Families whose
cache cannot give up its end run what is held again. Runs in a worker process only.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoTokenizer, DynamicCache

from edgecomp.common.errors import RuntimeRefused
from edgecomp.models.huggingface.end_tokens import end_token_ids
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.splitting import common
from edgecomp.runtimes.transformers.load import load_model

Logits = NDArray[np.float32]


class Session:
    """A loaded model and the tokens it holds."""

    def __init__(self, path: str, settings: RunSettings) -> None:
        """Load the folder at `path`. Raises RuntimeRefused and what `load_model` raises."""
        torch.set_num_threads(settings.threads)
        self.settings = settings
        self.tokenizer = TransformersTokenizer(path)
        self.model: Any = load_model(Path(path))
        self.vocabulary = int(self.model.config.get_text_config().vocab_size)
        self._takes = inspect.signature(self.model.forward).parameters
        self.keeps = all(layer.is_croppable for layer in self.new_cache().layers)
        """Whether a sequence is gone on with from its cache, which can be cut short."""

        self._held: list[int] = []
        self._cache = self.new_cache()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *unused: object) -> None:
        """The memory is freed with the object."""

    def new_cache(self) -> DynamicCache:
        """A cache that holds nothing, in the layout of the model's layers."""
        return DynamicCache(config=self.model.config)

    @property
    def buffer_bytes(self) -> dict[str, int]:
        """The bytes of weights and of keys and values held."""
        weights = [*self.model.parameters(), *self.model.buffers()]
        cached = [
            part
            for layer in self._cache.layers
            for part in (getattr(layer, "keys", None), getattr(layer, "values", None))
            if isinstance(part, Tensor)
        ]
        return {"weights": _bytes(weights), "kv": _bytes(cached)}

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        return self.tokenizer.ids(text, add_special=add_special, parse_special=parse_special)

    def text(self, tokens: Sequence[int]) -> str:
        return self.tokenizer.text(tokens)

    @torch.inference_mode()
    def run(
        self,
        tokens: Sequence[Sequence[int]],
        cache: DynamicCache | None,
        *,
        seen: Tensor | None = None,
        last: int | None = None,
    ) -> Tensor:
        """Run rows of as many tokens each after what `cache` holds; float32 logits
        [rows, tokens, vocabulary], or of the `last` tokens alone.

        `seen` [rows, all tokens]: 0 where a row is filled up at its beginning.
        """
        given: dict[str, Any] = {"input_ids": torch.tensor(tokens, device=self.model.device)}
        if seen is not None:
            given["attention_mask"] = seen.to(self.model.device)
            if "position_ids" in self._takes:
                places = (seen.cumsum(-1) - 1).clamp(min=0)[:, -len(tokens[0]) :]
                given["position_ids"] = places.to(self.model.device)
        if last is not None and "logits_to_keep" in self._takes:
            given["logits_to_keep"] = last
        try:
            output = self.model(**given, past_key_values=cache, use_cache=cache is not None)
        except Exception as error:
            # Positions that a model lacks, memory that a machine lacks: each its own exception.
            raise RuntimeRefused(
                f"transformers could not run {len(tokens[0])} tokens: {error}"
            ) from error
        logits: Tensor = output.logits
        return (logits if last is None else logits[:, -last:]).float()

    def extend(self, tokens: Sequence[int], *, last_only: bool = False) -> Tensor:
        """Run `tokens` after those held; their logits [tokens, vocabulary], or the last one's alone
        [1, vocabulary]. Raises RuntimeRefused where the context is full."""
        self.require_room(len(self._held) + len(tokens))
        last = 1 if last_only else None
        if self.keeps:
            logits = self.run([tokens], self._cache, last=last)[0]
        else:
            logits = self.run([[*self._held, *tokens]], None, last=last or len(tokens))[0]
        self._held += tokens
        return logits

    def require_room(self, total: int) -> None:
        """Raises RuntimeRefused where so many tokens are more than the context has room for."""
        if total > self.settings.context:
            raise RuntimeRefused(
                f"{total} tokens do not fit into a context of {self.settings.context}."
            )

    def prefill(self, tokens: Sequence[int]) -> Tensor:
        """Hold `tokens` and nothing else; the last position's logits [vocabulary].

        What is held already of their beginning is not run again, the rest a micro batch at a time.
        Raises RuntimeRefused where there is nothing to run.
        """
        if not tokens:
            raise RuntimeRefused("A model needs at least one token to go on from.")
        self.rewind(min(common(self._held, tokens), len(tokens) - 1))
        step = self.settings.micro_batch if self.keeps else len(tokens)
        last = torch.empty(1, 0)
        for begin in range(len(self._held), len(tokens), step):
            last = self.extend(tokens[begin : begin + step], last_only=True)
        return last[-1]

    def rewind(self, length: int = 0) -> None:
        """Forget all but the first `length` tokens, or all where the cache cannot be cut there."""
        cut = len(self._held) - length
        if cut and not (length and self.keeps and self._can_cut()):
            length, self._cache = 0, self.new_cache()
        elif cut:
            self._cache.crop(-cut)
        del self._held[length:]

    def _can_cut(self) -> bool:
        """No sliding layer has forgotten what it would see again."""
        held = len(self._held)
        return all(
            held < getattr(layer, "sliding_window", held + 1) for layer in self._cache.layers
        )


def _bytes(tensors: Sequence[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


class TransformersTokenizer:
    """transformers' tokenizer of a folder, and its end tokens."""

    def __init__(self, path: str) -> None:
        """Raises RuntimeRefused where the folder has none that transformers reads."""
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(
                path, local_files_only=True, trust_remote_code=False
            )
        except Exception as error:
            # transformers raises what it likes.
            raise RuntimeRefused(f"transformers reads no tokenizer in {path}: {error}") from error
        self._ends = frozenset(end_token_ids(Path(path)))
        begin = self._tokenizer("")["input_ids"]
        self._begin_text = str(self._tokenizer.convert_ids_to_tokens(begin[0])) if begin else ""

    def ids(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """Token ids of `text`; `add_special` adds what the tokenizer adds to every text."""
        return list(
            self._tokenizer(
                text, add_special_tokens=add_special, split_special_tokens=not parse_special
            )["input_ids"]
        )

    def prompt(self, text: str) -> list[int]:
        """Token ids of a prompt. A chat template may write BOS itself: none is added then, since
        the model has never seen two of them in a row."""
        begins = bool(self._begin_text) and text.startswith(self._begin_text)
        return self.ids(text, add_special=not begins, parse_special=True)

    def text(self, tokens: Sequence[int]) -> str:
        """The text of `tokens`, without special tokens."""
        return str(
            self._tokenizer.decode(
                list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        )

    def ends_generation(self, token: int) -> bool:
        return token in self._ends
