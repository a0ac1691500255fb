"""Candidates that ONNX Runtime runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgecomp.common.errors import CompressionSettingsInvalid
from edgecomp.common.tasks import MixChoice
from edgecomp.devices.profile import DeviceProfile
from edgecomp.formats.format_facts import FormatFacts
from edgecomp.models.spec import ModelSpec
from edgecomp.planning.candidate import ONNX, candidate_of, contexts
from edgecomp.planning.offload import Offload
from edgecomp.planning.onnx_memory import estimate_onnx_memory
from edgecomp.planning.placement import Placement
from edgecomp.planning.plan import Candidate
from edgecomp.recipes.constraints import Constraints
from edgecomp.recipes.run_settings import RunSettings

ONNX_MICRO_BATCH = 128
"""ONNX Runtime gives the logits of every position: a larger batch costs memory, not time."""


def refuse_what_onnx_lacks(constraints: Constraints, mix: MixChoice | None) -> None:
    """Raises CompressionSettingsInvalid for what only llama.cpp's artifacts can have."""
    mixed = mix not in (None, "none")
    asked = "--kv-type" if constraints.kv_type != "F16" else "--mix" if mixed else None
    if asked:
        raise CompressionSettingsInvalid(
            f"{asked} is for llama.cpp: ONNX artifacts have one type for all matrices and a "
            "float32 cache. Leave it out, or choose --runtime llama.cpp."
        )


def onnx_candidates(
    model: ModelSpec,
    device: DeviceProfile,
    constraints: Constraints,
    facts: Sequence[FormatFacts],
) -> Iterator[Candidate]:
    """Everything on the CPU, the only provider whose predictions were checked."""
    own = device.model_copy(update={"kernel_rates": device.kernel_rates_in(ONNX)})
    for row in facts:
        for context in contexts(model, constraints):
            settings = RunSettings(
                context=context,
                threads=device.cpu.cores,
                kv_type="F32",
                micro_batch=ONNX_MICRO_BATCH,
            )
            memory = estimate_onnx_memory(model, row.name, settings)
            pools = {device.system_pool.name: memory.total_bytes}
            option = Offload(Placement(), settings, memory, pools)
            yield candidate_of(model, own, constraints, row, option, ONNX)
