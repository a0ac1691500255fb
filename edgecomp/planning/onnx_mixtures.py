"""Mixtures of types that ONNX Runtime's CPU provider runs, one for each context."""

from __future__ import annotations

from collections.abc import Iterator

from edgecomp.devices.kernel_rates import KernelRates
from edgecomp.devices.profile import DeviceProfile
from edgecomp.formats.format_facts import FormatFacts
from edgecomp.formats.onnx_facts import facts_of_onnx_types, onnx_artifact_bytes
from edgecomp.formats.onnx_formats import MIX_TYPES, ONNX_MIXTURE
from edgecomp.formats.onnx_mixture import OnnxMixture
from edgecomp.formats.solved_types import ONNX_BLOCKS
from edgecomp.formats.type_frontier import TypeFrontier
from edgecomp.models.spec import ModelSpec
from edgecomp.planning.candidate import ONNX, candidate_of, contexts
from edgecomp.planning.kernels import without_kernels
from edgecomp.planning.offload import Offload
from edgecomp.planning.onnx_memory import estimate_onnx_memory
from edgecomp.planning.placement import Placement
from edgecomp.planning.plan import Candidate
from edgecomp.recipes.constraints import Constraints
from edgecomp.recipes.run_settings import RunSettings

ONNX_MICRO_BATCH = 128
"""ONNX Runtime gives the logits of every position: a larger batch costs memory, not time."""

MEASURED_LIKE = {
    **{f"UINT4_{block}": f"INT4_{block}" for block in ONNX_BLOCKS},
    **{f"INT8_{block}": "INT8_32" for block in ONNX_BLOCKS},
    "INT4_16": "INT4_32", "UINT4_16": "INT4_32", "INT4_256": "INT4_128", "UINT4_256": "INT4_128",
}  # fmt: skip
"""Whose measured speed, by bytes and products, stands for a type that calibration leaves out.
A 1536 x 4096 matrix on one core of an x86 processor (2026-11-28): zero points cost nothing, wider
blocks are no slower, and blocks of 16 take a quarter more than this says."""

SHRINKS, SHRINK_SHARE = 12, 0.97
"""How often, and how far, a mixture is made smaller whose memory passes a limit."""


def with_onnx_rates(device: DeviceProfile) -> DeviceProfile:
    """The device, with what was measured there in ONNX Runtime for the types of its formats."""
    rates = device.kernel_rates_in(ONNX)
    return device.model_copy(update={"kernel_rates": _with_more_types(rates)})


def _with_more_types(rates: KernelRates | None) -> KernelRates | None:
    if rates is None:
        return None
    known = rates.kernels
    more = {k: known[like] for k, like in MEASURED_LIKE.items() if k not in known and like in known}
    return rates.model_copy(update={"kernels": known | more})


def onnx_candidate(
    model: ModelSpec,
    device: DeviceProfile,
    constraints: Constraints,
    facts: FormatFacts,
    context: int,
) -> Candidate:
    """The candidate of an ONNX format on the CPU, with the very types of `facts`."""
    settings = RunSettings(
        context=context,
        threads=device.cpu.cores,
        kv_type="F32",
        micro_batch=ONNX_MICRO_BATCH,
    )
    memory = estimate_onnx_memory(model, facts.name, settings, facts.types)
    pools = {device.system_pool.name: memory.total_bytes}
    option = Offload(Placement(), settings, memory, pools)
    return candidate_of(model, with_onnx_rates(device), constraints, facts, option, ONNX)


def mixture_candidates(
    model: ModelSpec, device: DeviceProfile, constraints: Constraints
) -> Iterator[Candidate]:
    """The mixture that fills the request's limits of size and memory, where room is short. Where
    the smallest passes them it is the candidate, for the plan to say what is in the way."""
    limits = (constraints.max_size_bytes, constraints.max_memory_bytes)
    room = min((limit for limit in limits if limit), default=None)
    if room is None:
        return
    mixture = OnnxMixture(model)
    frontier = mixture.frontier(without_kernels(MIX_TYPES, device, ONNX, Placement()))
    smallest = onnx_artifact_bytes(model, ONNX_MIXTURE, types=mixture.smallest_types)
    room -= smallest - frontier.smallest_bytes
    if room >= frontier.largest_bytes:
        return
    for context in contexts(model, constraints):
        found = _filling(mixture, frontier, room, device, constraints, context)
        yield found.model_copy(update={"budget_bytes": found.file_bytes})


def _filling(
    mixture: OnnxMixture,
    frontier: TypeFrontier,
    room: int,
    device: DeviceProfile,
    constraints: Constraints,
    context: int,
) -> Candidate:
    """The largest mixture up to `room` bytes of matrices that keeps the limit of memory."""
    for _ in range(SHRINKS):
        types = mixture.by_tensor(frontier.within(max(room, 0)))
        facts = facts_of_onnx_types(mixture.model, ONNX_MIXTURE, types)
        found = onnx_candidate(mixture.model, device, constraints, facts, context)
        limit = constraints.max_memory_bytes
        over = limit is not None and found.memory.total_bytes > limit
        if room < frontier.smallest_bytes or not over:
            break
        room = round(SHRINK_SHARE * room)
    return found
