"""lm-eval on any runtime: an `lm_eval.api.model.LM` that asks through the Runtime protocol.

Needs the package lm_eval; nothing else imports this module. Continuations of one context are asked
together, so that the runtime runs the context once. Generation is greedy.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM

from edgecomp.common.errors import RuntimeRefused
from edgecomp.models.chat_template import ChatTemplate
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.protocol import Runtime

DEFAULT_LIMIT_TOKENS = 256
LONGEST_CHARACTER_BYTES = 4
SPECIAL_TOKENS = 2
"""Room left for the BOS and EOS a tokenizer may add."""


class RuntimeModel(LM):  # type: ignore
    """One artifact as lm-eval sees it."""

    def __init__(
        self, runtime: Runtime, artifact: Path, settings: RunSettings, template: ChatTemplate
    ) -> None:
        super().__init__()
        self.runtime = runtime
        self.artifact = artifact
        self.settings = settings
        self.template = template

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """(log-likelihood in nats, whether greedy decoding writes the continuation)."""
        pairs = [
            _spaces_after(str(context), str(continuation))
            for context, continuation in _arguments(requests)
        ]
        groups: dict[str, list[str]] = {}
        for context, continuation in pairs:
            continuations = groups.setdefault(context, [])
            if continuation not in continuations:
                continuations.append(continuation)
        questions = [(context or self._prefix, texts) for context, texts in groups.items()]
        scores = self.runtime.score(self.artifact, self.settings, questions)
        found = {
            (context, continuation): (score.loglikelihood, score.greedy)
            for (context, continuations), row in zip(groups.items(), scores, strict=True)
            for continuation, score in zip(continuations, row, strict=True)
        }
        answers = [found[pair] for pair in pairs]
        self._keep("loglikelihood", requests, answers)
        return answers

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """Log-likelihood of whole texts after the BOS or EOS token.

        A text longer than the context is read in windows, each after the last word of the one
        before, as lm-eval's own models read it after the last token. Windows end between words.
        """
        texts = [str(text) for (text,) in _arguments(requests)]
        windows = [self._windows(text) for text in texts]
        questions = [
            (context or self._prefix, (window,)) for parts in windows for context, window in parts
        ]
        scores = iter(self.runtime.score(self.artifact, self.settings, questions))
        answers = [sum(next(scores)[0].loglikelihood for _ in parts) for parts in windows]
        self._keep("loglikelihood_rolling", requests, answers)
        return answers

    def _windows(self, text: str) -> list[tuple[str, str]]:
        """The windows of a text, each with the word before it ("" before the first)."""
        room = self.settings.context - SPECIAL_TOKENS
        if self._token_counts([text])[0] <= room:
            return [("", text)]
        # A character takes no more tokens than it has bytes: two words, cut so, always fit.
        longest = max(1, room // (4 * LONGEST_CHARACTER_BYTES))
        words = re.findall(rf"\s{{0,{longest}}}\S{{1,{longest}}}|\s{{1,{longest}}}", text)
        windows: list[tuple[str, str]] = []
        before, window, filled = "", "", 0
        last, last_count = "", 0
        for word, count in zip(words, self._token_counts(words), strict=True):
            if window and filled + count > room:
                windows.append((before, window))
                before, window, filled = last, "", last_count
            window, filled = window + word, filled + count
            last, last_count = word, count
        return [*windows, (before, window)]

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """Greedy texts up to the first stop string. Raises RuntimeRefused for sampling."""
        arguments = _arguments(requests)
        for _, options in arguments:
            if options.get("do_sample") and options.get("temperature", 1.0) > 0:
                raise RuntimeRefused("edgecomp evaluates greedily; the task asks for sampling.")
        stops = [_stops(options.get("until")) for _, options in arguments]
        completions = self.runtime.complete(
            self.artifact,
            self.settings,
            [str(context) for context, _ in arguments],
            [int(options.get("max_gen_toks", DEFAULT_LIMIT_TOKENS)) for _, options in arguments],
            stops=stops,
        )
        answers = [
            cut_at(completion.text, row) for completion, row in zip(completions, stops, strict=True)
        ]
        self._keep("generate_until", requests, answers)
        return answers

    def apply_chat_template(
        self,
        chat_history: list[dict[str, str]],
        add_generation_prompt: bool = True,  # noqa: FBT001, FBT002 - lm-eval's signature
    ) -> str:
        return self.template.render(chat_history, add_generation_prompt=add_generation_prompt)

    def chat_template(self, chat_template: bool | str = False) -> str | None:  # noqa: FBT001, FBT002
        return self.template.source if chat_template else ""

    @property
    def tokenizer_name(self) -> str:
        return self.artifact.name

    @property
    def _prefix(self) -> str:
        """What stands before a text without context, so that its first token can be scored."""
        return self.template.bos or self.template.eos

    def _token_counts(self, texts: Sequence[str]) -> list[int]:
        tokens = self.runtime.tokenize(self.artifact, texts, add_special=False, parse_special=False)
        return [len(row) for row in tokens]

    def _keep(self, kind: str, requests: list[Instance], answers: Sequence[Any]) -> None:
        """Hand the answers to lm-eval's cache, where one is in use."""
        for request, answer in zip(requests, answers, strict=True):
            self.cache_hook.add_partial(kind, request.args, answer)


def _spaces_after(context: str, continuation: str) -> tuple[str, str]:
    """The pair with what spaces end the context at the beginning of the continuation, where
    lm-eval's own models score them (`lm_eval/api/model.py`, `_encode_pair`)."""
    kept = context.rstrip()
    return kept, context[len(kept) :] + continuation


def cut_at(text: str, stops: Sequence[str]) -> str:
    """`text` before the earliest of `stops`."""
    ends = [text.find(stop) for stop in stops if stop and stop in text]
    return text[: min(ends)] if ends else text


def _stops(until: str | list[str] | None) -> list[str]:
    return [until] if isinstance(until, str) else list(until or ())


def _arguments(requests: list[Instance]) -> list[tuple[Any, ...]]:
    return [tuple(request.args) for request in requests]
