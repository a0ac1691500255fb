"""Candidates that transformers runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgecomp.common.errors import CompressionSettingsInvalid
from edgecomp.common.tasks import MixChoice, Rounding
from edgecomp.devices.profile import DeviceProfile
from edgecomp.formats.format_facts import FormatFacts
from edgecomp.models.spec import ModelSpec
from edgecomp.planning.candidate import TRANSFORMERS, candidate_of, contexts
from edgecomp.planning.memory import MemoryEstimate
from edgecomp.planning.offload import Offload
from edgecomp.planning.placement import Placement
from edgecomp.planning.plan import Candidate
from edgecomp.recipes.constraints import Constraints
from edgecomp.recipes.run_settings import RunSettings

WORKER_BYTES = 420 * 10**6
"""A worker process with Python, torch and transformers loaded, before any model is (2026-11-28)."""

VOCABULARY_ENTRY_BYTES = 600
"""A token's entries in the tokenizer's tables, about."""

FLOAT_BYTES = 4


def refuse_what_transformers_lacks(
    constraints: Constraints, mix: MixChoice | None, rounding: Rounding | None
) -> None:
    """Raises CompressionSettingsInvalid for what quantized checkpoints cannot have."""
    if rounding == "llama.cpp":
        raise CompressionSettingsInvalid(
            "Quantized checkpoints are rounded by rtn, gptq, awq or awq+gptq: name one of these, "
            "or choose --runtime llama.cpp."
        )
    asked = "--kv-type" if constraints.kv_type != "F16" else None
    asked = "--mix" if mix not in (None, "none") else asked
    if asked:
        raise CompressionSettingsInvalid(
            f"{asked} is for llama.cpp: a quantized checkpoint has one type for all matrices of "
            "its blocks, and the cache's type is its server's. Leave it out, or choose --runtime "
            "llama.cpp."
        )


def transformers_candidates(
    model: ModelSpec,
    device: DeviceProfile,
    constraints: Constraints,
    facts: Sequence[FormatFacts],
) -> Iterator[Candidate]:
    """Everything on the CPU, where it is judged; no rates of transformers were measured."""
    own = device.model_copy(update={"kernel_rates": None})
    for row in facts:
        for context in contexts(model, constraints):
            settings = RunSettings(context=context, threads=device.cpu.cores)
            memory = estimate_transformers_memory(model, settings)
            pools = {device.system_pool.name: memory.total_bytes}
            option = Offload(Placement(), settings, memory, pools)
            yield candidate_of(model, own, constraints, row, option, TRANSFORMERS)


def estimate_transformers_memory(model: ModelSpec, settings: RunSettings) -> MemoryEstimate:
    """Peak memory of `model` in transformers on the CPU, as float32.

    The cache grows by copying a layer at a time, and a prompt's scores of one layer are in memory
    at once.
    """
    tokens = min(settings.micro_batch, settings.context)
    cell = model.kv_heads * (model.key_length + model.value_length)
    hidden = 4 * model.embedding_length + 3 * model.feed_forward_length
    return MemoryEstimate(
        weights_bytes=FLOAT_BYTES * model.parameters,
        kv_cache_bytes=FLOAT_BYTES * settings.context * cell * (model.layers + 1),
        compute_bytes=FLOAT_BYTES * tokens * (hidden + settings.context),
        output_bytes=2 * FLOAT_BYTES * model.vocabulary,
        runtime_bytes=WORKER_BYTES + VOCABULARY_ENTRY_BYTES * model.vocabulary,
    )
