"""Candidates that ONNX Runtime runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from edgecomp.common.errors import CompressionSettingsInvalid
from edgecomp.common.quantity import format_size
from edgecomp.common.tasks import MEASURED_MIXES, MixChoice
from edgecomp.devices.profile import DeviceProfile
from edgecomp.formats.execution_providers import ExecutionProvider, execution_provider
from edgecomp.formats.format_facts import FormatFacts
from edgecomp.formats.layered_weights import layered_weights
from edgecomp.formats.onnx_formats import ONNX_MIXTURE, onnx_format
from edgecomp.models.spec import ModelSpec
from edgecomp.planning.candidate import ONNX, candidate_of, contexts
from edgecomp.planning.offload import Offload
from edgecomp.planning.onnx_mixtures import ONNX_MICRO_BATCH, mixture_candidates, with_onnx_rates
from edgecomp.planning.placement import Placement
from edgecomp.planning.plan import Candidate
from edgecomp.planning.provider_choice import provider_processor
from edgecomp.planning.provider_memory import estimate_provider_memory
from edgecomp.planning.provider_partition import expected_nodes, partition
from edgecomp.recipes.constraints import Constraints
from edgecomp.recipes.run_settings import RunSettings

NOT_RUN = (
    "Speed and memory of {title} are computed from shapes and were not measured: nothing was run "
    "there."
)
TAKEN_APART = (
    "{title} takes int4 and int8 apart into float32 when it loads (seen on its CPU device): they "
    "are smaller files, and neither faster nor smaller in memory than onnx-fp32."
)


def refuse_what_onnx_lacks(constraints: Constraints, mix: MixChoice | None) -> None:
    """Raises CompressionSettingsInvalid for what only llama.cpp's artifacts can have."""
    fixed = mix not in (None, "none", *MEASURED_MIXES)
    asked = "--kv-type" if constraints.kv_type != "F16" else f"--mix {mix}" if fixed else None
    if asked:
        raise CompressionSettingsInvalid(
            f"{asked} is for llama.cpp: ONNX artifacts have a float32 cache and types of their "
            "own. Leave it out, or choose --runtime llama.cpp."
        )


def refuse_provider_elsewhere(runtime: str, provider: str) -> None:
    """Raises CompressionSettingsInvalid for an execution provider of another runtime's artifact."""
    if runtime != ONNX and provider != "cpu":
        raise CompressionSettingsInvalid(
            f"--provider {provider} is ONNX Runtime's, and {runtime} has none. Add --runtime onnx, "
            "or leave it out."
        )


def refuse_mix_elsewhere(provider: str, mix: MixChoice | None) -> None:
    """Raises CompressionSettingsInvalid for types by matrix in a graph that is not the CPU's."""
    if mix not in (None, "none") and execution_provider(provider).graph != "cpu":
        raise CompressionSettingsInvalid(
            f"--mix {mix} gives each matrix of the CPU's graph its type: {provider} has another "
            "graph. Leave it out, or choose --provider cpu."
        )


def onnx_candidates(
    model: ModelSpec,
    device: DeviceProfile,
    constraints: Constraints,
    facts: Sequence[FormatFacts],
    provider: str = "cpu",
) -> Iterator[Candidate]:
    """Each format with an execution provider; only the CPU's predictions were checked. Of the
    mixture those that fill the limits, where these leave less room than it could use.

    Raises CompressionSettingsInvalid where the device has nothing that the provider computes on.
    """
    own = with_onnx_rates(device)
    target = execution_provider(provider)
    processor = provider_processor(provider, device)
    own_graph = target.graph != "cpu"
    place = Placement(gpus=(processor.name,), gpu_layers=model.layers + 1)
    for row in facts:
        if row.name == ONNX_MIXTURE:
            yield from mixture_candidates(model, device, constraints)
            continue
        computed = _as_computed(model, row, target)
        divided = partition(expected_nodes(model, row.name, target), target)
        for context in contexts(model, constraints):
            settings = RunSettings(
                context=context,
                threads=device.cpu.cores,
                kv_type=target.float_type,
                micro_batch=ONNX_MICRO_BATCH,
            )
            memory, pools = estimate_provider_memory(model, row.name, settings, target, device)
            option = Offload(place if own_graph else Placement(), settings, memory, pools)
            found = candidate_of(model, own, constraints, computed, option, ONNX)
            if provider != "cpu":
                warning = TAKEN_APART if target.float_copies else NOT_RUN
                said = (
                    divided.sentence,
                    *_pools_note(pools),
                    *_blocks_note(row.name, target),
                    warning.format(title=target.title),
                )
                notes = (*found.notes, *said)
                found = found.model_copy(update={"provider": provider, "notes": notes})
            yield found


def _as_computed(model: ModelSpec, facts: FormatFacts, provider: ExecutionProvider) -> FormatFacts:
    """The facts with the weights that a provider streams: float32, where it takes codes apart."""
    if not provider.float_copies:
        return facts
    floats = {name: "F32" for name in facts.types}
    return replace(facts, weights=layered_weights(model, floats))


def _blocks_note(format_name: str, provider: ExecutionProvider) -> tuple[str, ...]:
    """That a provider's product does not read a format's blocks as they lie, where that is
    known."""
    row, fast = onnx_format(format_name), provider.fast_blocks
    if row.precision != "int4" or not fast or row.block_size in fast:
        return ()
    return (
        f"{provider.title} takes blocks of {row.block_size} apart before it multiplies: those of "
        f"{', '.join(map(str, fast))} are read as they lie.",
    )


def _pools_note(pools: Mapping[str, int]) -> tuple[str, ...]:
    """What lies in which memory, where there is more than one."""
    if len(pools) < 2:
        return ()
    parts = " and ".join(f"{format_size(size)} in {name}" for name, size in pools.items())
    return (f"Of its memory, {parts}.",)
