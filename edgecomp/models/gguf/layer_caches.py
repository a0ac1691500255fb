"""What each layer of a GGUF model keeps, as its metadata says: heads by layer, windows, shared and
latent caches, recurrent and convolution states.

Follows what llama.cpp reads (`llama_model_base::load_hparams`, `llama-hparams.cpp`, and what each
family adds in `src/models/*.cpp`), and is held against the buffers that it reports in
tests/models/test_layer_caches.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from edgecomp.models.architectures import ARCHITECTURES
from edgecomp.models.gguf.header import GgufHeader
from edgecomp.models.layer_cache import LayerCache, convolution_values, uneven


class _Pattern(NamedTuple):
    """Of each `every` layers one attends to everything: the last, or the first."""

    every: int
    full_first: bool = False

    def slides(self, layer: int) -> bool:
        return layer % self.every != (0 if self.full_first else self.every - 1)


USUAL_PATTERNS = {
    **{
        row.gguf_name: _Pattern(row.full_attention_every)
        for row in ARCHITECTURES
        if row.full_attention_every
    },
    "afmoe": _Pattern(4), "cohere2": _Pattern(4), "cohere2moe": _Pattern(4, full_first=True),
    "exaone4": _Pattern(4), "exaone-moe": _Pattern(4), "gemma3n": _Pattern(5),
    "gpt-oss": _Pattern(2),
    "laguna": _Pattern(4, full_first=True), "llama4": _Pattern(4), "mellum": _Pattern(4),
    "muse-glimmer": _Pattern(4), "olmo2": _Pattern(4), "plamo3": _Pattern(8),
    "smallthinker": _Pattern(4, full_first=True),
}  # fmt: skip
"""What llama.cpp takes where a file has no pattern (`load_swa_pattern`)."""

READS_A_PATTERN = frozenset(
    (*USUAL_PATTERNS, "gemma4", "granite_swa", "maple", "mimo2", "spark2_5", "step35", "dots3note")
)
"""Families whose layers may slide; a window in another family's file is not looked at."""

SLIDES_WHERE_IT_ATTENDS = ("lfm2", "lfm2moe")
CHUNK_TOKENS = {"llama4": 8192}
"""Windows that do not stand in the file."""

EVERY_LAYER_RECURS = ("mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7", "falcon-h1")
ATTENDS_TOO = ("falcon-h1",)
USUAL_INTERVAL = 4
FULL_ATTENTION_INTERVALS = ("qwen3next", "qwen35", "qwen35moe", "qwen4exp")
SHARED_FROM = {"gemma3n": 20}
"""The layer from which on llama.cpp takes an earlier one's cache where the file says nothing."""


class _Entries:
    """A file's entries of its own family."""

    def __init__(self, header: GgufHeader, family: str, layers: int) -> None:
        self._header, self.family, self.layers = header, family, layers

    def raw(self, key: str) -> object:
        return self._header.get(f"{self.family}.{key}")

    def count(self, key: str, default: int = 0) -> int:
        value = self.raw(key)
        return value if isinstance(value, int) else default

    def by_layer(self, key: str, default: int = 0) -> list[int]:
        value = self.raw(key)
        if isinstance(value, list):
            counts = [entry if isinstance(entry, int) else 0 for entry in value]
            return (counts + [0] * self.layers)[: self.layers]
        return [self.count(key, default)] * self.layers


def window_of(header: GgufHeader, family: str) -> int | None:
    """The tokens that a sliding layer sees; None where the family has none."""
    stored = header.get(f"{family}.attention.sliding_window")
    if family in CHUNK_TOKENS:
        return None if stored == 0 else CHUNK_TOKENS[family]
    known = family in READS_A_PATTERN or family in SLIDES_WHERE_IT_ATTENDS
    return stored or None if known and isinstance(stored, int) else None


def sliding_pattern(header: GgufHeader, family: str, layers: int) -> tuple[bool, ...]:
    """One entry a layer, True where it slides: by the file's list or period, or the family's."""
    if family in SLIDES_WHERE_IT_ATTENDS:
        heads = _Entries(header, family, layers).by_layer("attention.head_count_kv")
        return tuple(count > 0 for count in heads)
    stored = header.get(f"{family}.attention.sliding_window_pattern")
    if isinstance(stored, list):
        return tuple(bool(entry) for entry in (stored + [False] * layers)[:layers])
    usual = USUAL_PATTERNS.get(family)
    every = stored if isinstance(stored, int) else usual.every if usual else 0
    if not every:
        return (False,) * layers
    pattern = _Pattern(every, usual.full_first if usual else False)
    return tuple(pattern.slides(layer) for layer in range(layers))


def layer_caches(
    header: GgufHeader, family: str, layers: int, usual: LayerCache, slides: tuple[bool, ...]
) -> tuple[LayerCache, ...]:
    """What each layer keeps; nothing where it is `usual` in every one. `slides`: one entry a layer,
    or none."""
    entries = _Entries(header, family, layers)
    recurs = _recurring(entries)
    state = _state_values(entries)
    keys, values = _lengths(entries, slides or (False,) * layers)
    heads = entries.by_layer("attention.head_count_kv", entries.count("attention.head_count"))
    shared = _first_shared(entries)
    latent = bool(entries.count("attention.key_length_mla"))
    indexer = entries.count("attention.indexer.key_length")
    indexed = entries.raw("attention.indexer.types")
    indexed = indexed if isinstance(indexed, list) else [True] * layers
    caches = []
    for layer in range(layers):
        attends = layer < shared and (not recurs(layer) or family in ATTENDS_TOO)
        count = heads[layer] if attends else 0
        caches.append(
            LayerCache(
                key_values=count * keys[layer] + (indexer if count and indexed[layer] else 0),
                value_values=0 if latent else count * values[layer],
                state_values=state if recurs(layer) else 0,
            )
        )
    return uneven(caches, usual)


def _lengths(entries: _Entries, slides: tuple[bool, ...]) -> tuple[list[int], list[int]]:
    """The length of a head's keys and of its values, by layer."""
    heads = max(entries.by_layer("attention.head_count"), default=0)
    head = entries.count("embedding_length") // heads if heads else 0
    found = []
    for part in ("key", "value"):
        full = entries.count(f"attention.{part}_length", head)
        sliding = entries.count(f"attention.{part}_length_swa", full)
        found.append([sliding if slide else full for slide in slides])
    return found[0], found[1]


def _recurring(entries: _Entries) -> Callable[[int], bool]:
    """Whether a layer keeps a state."""
    listed = entries.raw("attention.recurrent_layers")
    if isinstance(listed, list):
        return lambda layer: layer < len(listed) and bool(listed[layer])
    if entries.family in EVERY_LAYER_RECURS:
        return lambda layer: True
    interval = entries.count("full_attention_interval")
    if interval or entries.family in FULL_ATTENTION_INTERVALS:
        every = interval or USUAL_INTERVAL
        return lambda layer: (layer + 1) % every != 0
    if not _state_values(entries):
        return lambda layer: False
    heads, hidden = entries.by_layer("attention.head_count_kv"), entries.raw("feed_forward_length")
    feeds = hidden if isinstance(hidden, list) else [0] * entries.layers
    # A layer that only feeds forward, as Nemotron-H has them, keeps nothing.
    only_feeds = entries.family.startswith("nemotron_h")
    return lambda layer: heads[layer] == 0 and not (only_feeds and feeds[layer])


def _state_values(entries: _Entries) -> int:
    """float32 numbers of a recurrent layer's states of one sequence."""
    width, heads = entries.count("embedding_length"), entries.by_layer("attention.head_count")
    if wkv := entries.count("wkv.head_size"):
        return width * (entries.count("token_shift_count", 2) + wkv)
    if kernel := entries.count("shortconv.l_cache"):
        return width * (kernel - 1)
    kernel = entries.count("ssm.conv_kernel")
    if kda := entries.count("kda.head_dim"):
        inner = max(heads) * kda
        return 3 * max(kernel - 1, 0) * inner + inner * kda
    inner, state = entries.count("ssm.inner_size"), entries.count("ssm.state_size")
    groups = entries.count("ssm.group_count")
    return convolution_values(kernel, inner, groups, state) + state * inner


def _first_shared(entries: _Entries) -> int:
    """The layer from which on all take an earlier one's cache."""
    shared = entries.count("attention.shared_kv_layers")
    if shared:
        return entries.layers - shared
    return min(SHARED_FROM.get(entries.family, entries.layers), entries.layers)
