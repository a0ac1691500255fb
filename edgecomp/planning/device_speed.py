"""How long a processor that was never measured takes, from its profile alone.

Times are sums of what the work is made of, each over a figure of the profile: bytes over the
memory's bandwidth, operations over a peak. What an item costs is a constant a class of processors:

    a decoded token   weights' bytes x `stream` / bandwidth + weights x 2 x `unpack` / fp32
                      + the cache's bytes x `cache` / bandwidth + layers x `layer_seconds`
    a prompt's token  weights x 2 x (`scalar` / fp32 + `matrix` / int8 + `unpacked` / fp16), those
                      of K types with `k_scalar` more; float weights x 2 x `half` / fp16;
                      attention's products x 2 x `attention` / fp32;
                      layers x width x 4 bytes x `passes` / bandwidth

Layers of a mixture take `expert_layer_seconds` more of each decoded token, since they also choose
and gather, and their experts' weights `expert_products` times as long in a prompt, of which each
expert sees but a few tokens.

A memory that reaches all of its bandwidth has a `stream` of 1; the doubles turn products into
operations.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from edgecomp.devices.profile import MemoryPool, Processor

FLOAT_TYPES = frozenset(("F32", "F16", "BF16"))
K_TYPES = frozenset(("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"))

SLOW_KERNELS = {"Q4_1": 0.6, "Q5_1": 0.6, "Q3_K": 0.6, "IQ3_S": 0.4, "IQ3_XXS": 0.4, "IQ2_S": 0.4,
                "IQ2_XS": 0.4, "IQ2_XXS": 0.4, "IQ1_S": 0.4, "IQ1_M": 0.3}  # fmt: skip
"""Types whose CPU kernels unpack more than they read: the share of the usual decode speed."""


class Costs(NamedTuple):
    """What a class of processors pays, as in the formulas above."""

    stream: float
    layer_seconds: float
    cache: float
    cache_unfused: float
    """`cache` without flash attention, as `attention_unfused` is of `attention`."""

    scalar: float
    half: float
    attention: float
    attention_unfused: float
    unpack: float = 0
    matrix: float = 0
    unpacked: float = 0
    k_scalar: float = 0
    passes: float = 0
    expert_layer_seconds: float = 0
    expert_products: float = 1


_AMD = Costs(
    stream=1.19, layer_seconds=31e-6, cache=2.4, cache_unfused=2.4,
    scalar=0.1, unpacked=2.2, half=2.2, attention=4.0, attention_unfused=4.0,
    expert_layer_seconds=100e-6, expert_products=1.7,
)  # fmt: skip
_INTEL = Costs(
    stream=1.07, layer_seconds=362e-6, cache=2.4, cache_unfused=2.4,
    scalar=1.2, half=1.2, attention=4.0, attention_unfused=4.0,
    expert_layer_seconds=100e-6, expert_products=1.7,
)  # fmt: skip
_CPU = Costs(
    stream=1.09, unpack=1.9, layer_seconds=110e-6, cache=1.09, cache_unfused=1.09,
    scalar=1.9, half=1.9, attention=1.9, attention_unfused=1.9,
)  # fmt: skip
COSTS = {
    "cuda": Costs(
        stream=1.07, unpack=2.66, layer_seconds=31e-6, cache=1.3, cache_unfused=3.1,
        scalar=0.21, matrix=2.2, k_scalar=0.12, half=1.07, attention=1.43, attention_unfused=2.85,
        expert_layer_seconds=36e-6, expert_products=2.5,
    ),
    "metal": Costs(
        stream=1.05, layer_seconds=174e-6, cache=7.4, cache_unfused=7.4,
        scalar=1.41, half=1.29, attention=4.3, attention_unfused=4.3, passes=31,
        expert_layer_seconds=41e-6,
    ),
    "amd": _AMD,
    "amd-integrated": _AMD._replace(unpacked=3.6, half=3.6),
    "intel": _INTEL,
    "intel-integrated": _INTEL._replace(unpack=20, layer_seconds=140e-6, scalar=3.0, half=3.0),
    "adreno": _INTEL._replace(stream=1.5, layer_seconds=1.2e-3, scalar=3.5, half=85),
    "cpu": _CPU,
    "cpu-vnni": _CPU._replace(scalar=1.2),
    "cpu-arm": _CPU._replace(scalar=2.7),
    "cpu-arm-old": _CPU._replace(scalar=5, unpack=5),
}  # fmt: skip
"""By class. Fitted on 2026-11-28 to published llama.cpp speeds (`make bench-devices` prints the fit
and its errors): least absolute relative errors over 31 NVIDIA devices on CUDA, 20 of Apple's on
Metal, 9 of AMD's, 7 of Intel's and 10 processors. Each device predicted from constants that were
fitted without it: decode 7 % off in the median, prefill 10 %; Intel's graphics, of few devices and
of builds years apart, by up to 8 x.

What experts cost comes from one mixture on 5 of NVIDIA's devices and 3 of Apple's.

Set by hand, since no row tells them: `cache` and `attention` of AMD and Intel, and their experts;
CUDA's `cache`, from how one card slows down with the depth; "adreno", from one phone, whose F16 had
no fast kernels; "cpu-arm-old", which has no dot products, from one board; "intel-integrated",
between SYCL and Vulkan, which rows put 4 x apart.
"""


class Pace(NamedTuple):
    """Seconds that a processor takes for one of each."""

    byte: float
    """Of weights, in a decoded token."""

    weight: float
    """In a decoded token, besides its bytes."""

    layer: float
    cache_byte: float
    cache_byte_unfused: float
    product: float
    """Of a quantized weight, in a token of a prompt; so the next two."""

    k_product: float
    float_product: float
    attention_product: float
    attention_product_unfused: float
    passed_number: float
    """Of the hidden state, in a layer of a token of a prompt."""

    expert_layer: float
    expert_products: float
    """How much longer a product of an expert takes."""

    slow_kernels: Mapping[str, float]
    """Types that are decoded slower than the others, and their share of the usual speed."""


def pace_of(processor: Processor, pool: MemoryPool) -> Pace:
    """What a processor of its class takes in its memory."""
    peak = processor.peak
    single = peak.get("fp32") or (peak.get("fp16") or peak["bf16"]) / 2
    half = peak.get("fp16") or single
    costs = COSTS[cost_class(processor, pool)]
    eight_bit = peak.get("int8") or 2 * half
    return _pace(costs, pool.bandwidth, single, half, eight_bit, on_cpu=processor.kind == "cpu")


@lru_cache(maxsize=1024)
def _pace(
    costs: Costs, bandwidth: float, single: float, half: float, eight_bit: float, *, on_cpu: bool
) -> Pace:
    """The formulas above, from operations a second at fp32, fp16 and int8. A product is two."""
    matrix = costs.matrix / eight_bit + costs.unpacked / half
    return Pace(
        byte=costs.stream / bandwidth,
        weight=2 * costs.unpack / single,
        layer=costs.layer_seconds,
        cache_byte=costs.cache / bandwidth,
        cache_byte_unfused=costs.cache_unfused / bandwidth,
        product=2 * (costs.scalar / single + matrix),
        k_product=2 * ((costs.scalar + costs.k_scalar) / single + matrix),
        float_product=2 * costs.half / half,
        attention_product=2 * costs.attention / single,
        attention_product_unfused=2 * costs.attention_unfused / single,
        passed_number=4 * costs.passes / bandwidth,
        expert_layer=costs.expert_layer_seconds,
        expert_products=costs.expert_products,
        slow_kernels=SLOW_KERNELS if on_cpu else {},
    )


def product_seconds(kind: str, pace: Pace) -> float:
    """Time of one weight of a type in a token of a prompt."""
    if kind in K_TYPES:
        return pace.k_product
    return pace.float_product if kind in FLOAT_TYPES else pace.product


def cost_class(processor: Processor, pool: MemoryPool) -> str:
    """The class of a processor: its key in COSTS."""
    if processor.kind == "cpu":
        sets = processor.instruction_sets
        if "asimd" in sets:
            return "cpu-arm" if "asimddp" in sets else "cpu-arm-old"
        return "cpu-vnni" if "avx512_vnni" in sets else "cpu"
    if processor.backend in ("cuda", "metal"):
        return processor.backend
    if processor.backend == "opencl":
        return "adreno"
    vendor = processor.vendor or "amd"
    return vendor if pool.kind == "vram" else f"{vendor}-integrated"
