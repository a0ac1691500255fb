"""How layers differ in what they keep of the tokens they have seen."""

from __future__ import annotations

from collections.abc import Sequence

from edgecomp.common.frozen_model import FrozenModel


class LayerCache(FrozenModel):
    """One layer's: values a token, for keys and for values, and a state that does not grow."""

    key_values: int = 0
    value_values: int = 0
    state_values: int = 0
    """float32 numbers of a sequence's recurrent and convolution states."""


def uneven(caches: Sequence[LayerCache], usual: LayerCache) -> tuple[LayerCache, ...]:
    """`caches`, one a layer; nothing where every layer's is the usual one."""
    return () if all(cache == usual for cache in caches) else tuple(caches)


def convolution_values(kernel: int, inner: int, groups: int, state: int) -> int:
    """Numbers that a state-space layer's convolution keeps: all but the oldest of its inputs, the
    inner ones and both of the state's projections (llama.cpp, `llama_hparams::n_embd_r`)."""
    return max(kernel - 1, 0) * (inner + 2 * groups * state)


def period(slides: Sequence[bool], usual: int) -> int | None:
    """n where exactly each n-th layer attends to everything; None where the layers follow no such
    period. `usual` is the family's own n, which is taken where it fits."""
    first = next((layer for layer, slide in enumerate(slides) if not slide), len(slides))
    for every in (usual, first + 1):
        if every and all(slide == ((n + 1) % every != 0) for n, slide in enumerate(slides)):
            return every
    return None
