"""Greedy generation, several sequences to a run where the cache can have them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from edgecomp.common.errors import RuntimeRefused
from edgecomp.common.events import Progress
from edgecomp.runtimes.answers import ends_generation
from edgecomp.runtimes.transformers.session import Session


def generate(
    session: Session,
    prompts: Sequence[Sequence[int]],
    limits: Sequence[int],
    stops: Sequence[Sequence[str]],
    progress: Progress,
) -> list[list[int]]:
    """Greedy continuations of `prompts`, at most `limits[i]` tokens each, without the end token, or
    up to the token that completes one of `stops[i]`.

    Prompts of about one length run together; those whose answers are finished leave.
    """
    written: list[list[int]] = [[] for _ in prompts]
    session.rewind()
    done = 0
    for group in _groups(session, prompts, limits):
        together = _Together(session, [prompts[item] for item in group])
        running = list(group)
        while running:
            ended = [
                ends_generation(written[item], token, limits[item], stops[item], session.tokenizer)
                for item, token in zip(running, together.following, strict=True)
            ]
            running = [item for item, ends in zip(running, ended, strict=True) if not ends]
            if any(ended):
                done += sum(ended)
                progress(done, len(prompts))
            if running:
                together.go_on([place for place, ends in enumerate(ended) if not ends])
    return written


def _groups(
    session: Session, prompts: Sequence[Sequence[int]], limits: Sequence[int]
) -> Iterator[list[int]]:
    """Which prompts run together: as many as the context has room for, each with its answer. The
    longest come first, so that what does not fit is refused at once."""
    order = sorted(range(len(prompts)), key=lambda item: -len(prompts[item]))
    group: list[int] = []
    longest = answer = 0
    for item in order:
        session.require_room(len(prompts[item]) + limits[item])
        if not prompts[item]:
            raise RuntimeRefused("A model needs at least one token to go on from.")
        needed = max(longest, len(prompts[item])) + max(answer, limits[item])
        most = min(session.settings.sequences, session.settings.context // needed)
        if group and (len(group) >= most or not session.keeps):
            yield group
            group, longest, answer = [], 0, 0
        group.append(item)
        longest, answer = max(longest, len(prompts[item])), max(answer, limits[item])
    if group:
        yield group


class _Together:
    """Sequences that run side by side, filled up at their beginning to one length."""

    def __init__(self, session: Session, prompts: Sequence[Sequence[int]]) -> None:
        self._session = session
        length = max(len(prompt) for prompt in prompts)
        filled = [[prompt[0]] * (length - len(prompt)) + list(prompt) for prompt in prompts]
        fills = torch.tensor([length - len(prompt) for prompt in prompts])
        self._seen = (torch.arange(length) >= fills[:, None]).long()
        self._cache = session.new_cache() if session.keeps else None
        self._rows = filled
        step = session.settings.micro_batch if session.keeps else length
        for begin in range(0, length, step):
            self._run([row[begin : begin + step] for row in filled], begin + step)

    def _run(self, tokens: Sequence[Sequence[int]], length: int) -> None:
        seen = None if self._seen.all() else self._seen[:, :length]
        logits = self._session.run(tokens, self._cache, seen=seen, last=1)
        self.following: list[int] = logits[:, -1].argmax(-1).tolist()
        """The token that each goes on with."""

    def go_on(self, places: Sequence[int]) -> None:
        """Keep the sequences at `places`, and have each run the token it goes on with."""
        if len(places) < len(self._rows):
            self._seen = self._seen[list(places)]
            if self._cache is not None:
                self._cache.batch_select_indices(torch.tensor(places))
        following = [self.following[place] for place in places]
        self._rows = [
            [*self._rows[place], token] for place, token in zip(places, following, strict=True)
        ]
        self._seen = torch.cat([self._seen, self._seen.new_ones(len(places), 1)], dim=1)
        if self._cache is None:
            self._run(self._rows, len(self._rows[0]))
        else:
            self._run([[token] for token in following], self._seen.shape[1])
