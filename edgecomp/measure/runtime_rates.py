"""All that models of random weights tell of a runtime: its kernels, attention, and what is left."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from edgecomp.common.events import Progress
from edgecomp.devices.kernel_rates import CacheTimes, KernelRate
from edgecomp.measure.kernel_timing import (
    ATTENTION_DEPTHS,
    ATTENTIVE,
    CACHE_DEPTHS,
    FIXED_SHAPES,
    SHALLOW,
    WIDE,
    Asked,
    AttentionRates,
    FixedCosts,
    TimeModel,
    TokenTimes,
    attention_rates,
    cache_times,
    fixed_costs,
    kernel_rate,
    token_times,
    typical,
)
from edgecomp.measure.synthetic_model import SyntheticShape
from edgecomp.measure.whole_models import WholeModel, WholeModelTimes, time_whole_models

ROUNDS, ATTENTION_REPEATS = 3, 2
"""Of a kernel's rounds the median counts: a machine that others share has slow and fast seconds."""


class Timed(NamedTuple):
    """What of a runtime is timed."""

    types: Sequence[str]
    fixed_types: Sequence[str]
    """Those that tell what is no product: kernels sum and store their rows unlike, so the mean of
    several counts."""

    batch_tokens: int
    micro_batch: int
    every_logit: bool
    """As in `SyntheticShape.batch_weights`."""

    whole: Sequence[WholeModel]
    cache_types: Sequence[str] = ()
    """Types of KV cache that are timed beside F16."""

    @property
    def steps(self) -> int:
        """How often the progress of `time_runtime` is told."""
        return 2 + len(self.cache_types) + ROUNDS * (1 + len(self.types) + len(self.fixed_types))


class RuntimeRates(NamedTuple):
    """What the timings tell."""

    kernels: dict[str, KernelRate]
    fixed: FixedCosts
    attention: AttentionRates
    whole: list[WholeModelTimes]
    cache_times: dict[str, CacheTimes]

    @property
    def fields(self) -> dict[str, Any]:
        """Those fields of KernelRates that the timings tell."""
        return {
            "kernels": self.kernels,
            "layer_seconds": self.fixed.layer,
            "token_seconds": self.fixed.token,
            "decode_row_seconds": self.fixed.decode_row,
            "prefill_row_seconds": self.fixed.batch_row,
            "decode_attention_per_second": self.attention.decode,
            "prefill_attention_per_second": self.attention.prefill,
            "shared_attention_seconds": self.attention.shared_seconds,
            "cache_times": self.cache_times,
        }


def time_runtime(timed: Timed, time_model: TimeModel, progress: Progress) -> RuntimeRates:
    """Time the models and tell the rates."""
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        progress(done, timed.steps)

    whole = list(time_whole_models(timed.whole, time_model))
    step()
    kinds = timed.fixed_types[:1]
    attention = attention_rates(
        time_model(Asked(ATTENTIVE, kinds, ATTENTION_DEPTHS, ATTENTION_REPEATS))
    )
    step()

    few = ATTENTIVE.model_copy(update={"layers": 2})
    coarse = {}
    for kind in timed.cache_types:
        # Side by side each time: an uneven machine may not be as fast later.
        plain, own = (
            time_model(Asked(few, kinds, CACHE_DEPTHS, 1, kv_type)) for kv_type in ("F16", kind)
        )
        coarse[kind] = cache_times(plain, own)
        step()

    def times(shape: SyntheticShape, kind: str) -> TokenTimes:
        decoded, batch = time_model(Asked(shape, [kind], (SHALLOW, timed.batch_tokens), 1))
        return token_times(shape, decoded, batch, timed.batch_tokens, attention)

    wide: dict[str, list[TokenTimes]] = defaultdict(list)
    fixed: dict[str, list[list[TokenTimes]]] = defaultdict(list)
    for _ in range(ROUNDS):
        for kind in timed.types:
            wide[kind].append(times(WIDE, kind))
            step()
        for kind in timed.fixed_types:
            fixed[kind].append([times(shape, kind) for shape in FIXED_SHAPES])
            step()
        whole += time_whole_models(timed.whole, time_model)
        step()
    costs = _mean_costs(fixed.values(), every_logit=timed.every_logit)
    kernels = {
        kind: kernel_rate(kind, typical(rounds), costs, every_logit=timed.every_logit)
        for kind, rounds in wide.items()
    }
    return RuntimeRates(kernels, costs, attention, whole, coarse)


def _mean_costs(
    types: Iterable[Sequence[Sequence[TokenTimes]]], *, every_logit: bool
) -> FixedCosts:
    found = []
    for rounds in types:
        best = [typical(same) for same in zip(*rounds, strict=True)]
        times = list(zip(FIXED_SHAPES, best, strict=True))
        found.append(fixed_costs(times, every_logit=every_logit))
    return FixedCosts(*(statistics.mean(costs) for costs in zip(*found, strict=True)))
