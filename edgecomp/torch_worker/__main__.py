"""The worker process for work with torch: its memory and its crashes stay its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecomp.common.events import Progress
from edgecomp.models.spec import EMBEDDING, OUTPUT
from edgecomp.processes.child import serve
from edgecomp.recipes.sparsity import parse_sparsity

if TYPE_CHECKING:
    from torch import Tensor


def _load_tokens(tokens: str, threads: int) -> Tensor:
    """Token ids int64 [rows, length] from an .npy file."""
    import numpy as np
    import torch

    torch.set_num_threads(threads)
    return torch.from_numpy(np.load(tokens))


def importance(
    checkpoint: str,
    tokens: str,
    destination: str,
    datasets: list[str],
    threads: int,
    progress: Progress,
) -> None:
    """Write the importance matrix of `checkpoint`; `tokens` is an .npy file [rows, length]."""
    from edgecomp.compress.device import on_best_device
    from edgecomp.compress.importance import compute_importance

    ids = _load_tokens(tokens, threads)
    on_best_device(
        lambda device: compute_importance(
            Path(checkpoint), ids, Path(destination), datasets=datasets, device=device,
            progress=progress,
        )
    )  # fmt: skip


def round_weights(
    checkpoint: str,
    tokens: str,
    destination: str,
    rounding: str,
    types: dict[str, str],
    threads: int,
    progress: Progress,
) -> None:
    """Choose codes for the matrices inside the blocks of `checkpoint`, and for the output head
    where its type is ONNX's. `types` goes by GGUF name; matrices of types without a solver stay."""
    import torch

    from edgecomp.compress.awq import awq_method
    from edgecomp.compress.blocks import walk
    from edgecomp.compress.device import on_best_device
    from edgecomp.compress.gguf_types import SOLVED_GRIDS, grids_of_types
    from edgecomp.compress.gptq import gptq_method
    from edgecomp.compress.head import round_head
    from edgecomp.compress.onnx_grids import ONNX_GRIDS
    from edgecomp.compress.rtn import rtn

    solved = {
        name: kind
        for name, kind in types.items()
        if name.startswith("blk.") and kind in SOLVED_GRIDS
    }
    grid_of = grids_of_types(Path(checkpoint), solved)
    method = {
        "rtn": lambda: rtn(grid_of, use_importance=True),
        "gptq": lambda: gptq_method(grid_of),
        "awq": lambda: awq_method(grid_of),
        "awq+gptq": lambda: awq_method(grid_of, solver="gptq"),
    }[rounding]()
    ids = _load_tokens(tokens, threads)
    on_best_device(
        lambda device: walk(
            Path(checkpoint), ids, method, destination=Path(destination),
            job=f"{rounding} {sorted(solved.items())}", dtype=torch.float32, device=device,
            progress=progress,
        )
    )  # fmt: skip
    for name in (EMBEDDING, OUTPUT):
        if types.get(name) in ONNX_GRIDS:
            round_head(Path(checkpoint), Path(destination), name, types[name])


def prune(
    checkpoint: str,
    tokens: str,
    destination: str,
    method: str,
    sparsity: str,
    threads: int,
    progress: Progress,
) -> None:
    """Set a share of the weights inside the blocks to zero."""
    from edgecomp.compress.blocks import walk
    from edgecomp.compress.device import on_best_device
    from edgecomp.compress.magnitude import magnitude_method
    from edgecomp.compress.sparsegpt import sparsegpt_method
    from edgecomp.compress.wanda import wanda_method

    methods = {
        "sparsegpt": sparsegpt_method,
        "wanda": wanda_method,
        "magnitude": magnitude_method,
    }
    ids = _load_tokens(tokens, threads)
    on_best_device(
        lambda device: walk(
            Path(checkpoint), ids, methods[method](parse_sparsity(sparsity)),
            destination=Path(destination), job=f"{method} {sparsity}", device=device,
            progress=progress,
        )
    )  # fmt: skip


def make_smaller(
    checkpoint: str,
    tokens: str,
    destination: str,
    sizes: dict[str, int | None],
    threads: int,
    progress: Progress,
) -> None:
    """Write the smaller model that keeps the most important parts of `checkpoint`."""
    import shutil

    from edgecomp.compress.device import on_best_device
    from edgecomp.compress.structured import measure_importance, prune
    from edgecomp.recipes.smaller_model import Sizes

    ids = _load_tokens(tokens, threads)
    found = on_best_device(
        lambda device: measure_importance(Path(checkpoint), ids, device=device, progress=progress)
    )
    # What a stopped attempt left there is quicker written again than judged.
    shutil.rmtree(destination, ignore_errors=True)
    prune(Path(checkpoint), Path(destination), found, Sizes.model_validate(sizes))


def write_targets(
    teacher: str,
    tokens: str,
    destination: str,
    top_k: int,
    temperature: float,
    threads: int,
    progress: Progress,
) -> None:
    """Write down the teacher's logits and states on the tokens, for a student to learn from."""
    from edgecomp.compress.device import on_best_device
    from edgecomp.compress.distill_targets import cache_targets

    ids = _load_tokens(tokens, threads)
    on_best_device(
        lambda device: cache_targets(
            Path(teacher), ids, Path(destination), top_k=top_k, temperature=temperature,
            device=device, progress=progress,
        )
    )  # fmt: skip


def train_student(
    student: str,
    tokens: str,
    targets: str,
    destination: str,
    stage: dict[str, Any],
    threads: int,
    progress: Progress,
) -> dict[str, Any]:
    """Train a student towards the targets of a DistillStage, on every GPU where there are some; the
    History of its divergence."""
    import torch

    from edgecomp.compress.device import on_best_device
    from edgecomp.compress.distill import distill
    from edgecomp.compress.distill_targets import Targets
    from edgecomp.recipes.stages import DistillStage

    ids, wanted = _load_tokens(tokens, threads), DistillStage.model_validate(stage)
    history = on_best_device(
        lambda device: distill(
            Path(student), ids, Targets(Path(targets)), Path(destination), wanted, device=device,
            devices=torch.cuda.device_count() if device != "cpu" else 1, progress=progress,
        )
    )  # fmt: skip
    return history.model_dump(mode="json")


def sensitivities(
    checkpoint: str,
    tokens: str,
    types: list[str],
    rows: int,
    carried_rows: int,
    threads: int,
    progress: Progress,
) -> dict[str, Any]:
    """The Sensitivities of `checkpoint` to `types`, measured on the first `rows` rows of tokens; on
    `carried_rows` of them at the head."""
    from edgecomp.compress.device import on_best_device
    from edgecomp.compress.sensitivity import measure_sensitivities

    ids = _load_tokens(tokens, threads)[:rows]
    found = on_best_device(
        lambda device: measure_sensitivities(
            Path(checkpoint), ids, types, carried_rows=carried_rows, device=device,
            progress=progress,
        )
    )  # fmt: skip
    return found.model_dump(mode="json")


def allocate(
    sensitivities: dict[str, Any], budget_bytes: int, progress: Progress
) -> dict[str, str]:
    """The types of `edgecomp.compress.bit_allocation.allocate`."""
    from edgecomp.compress.bit_allocation import Sensitivities, allocate

    return allocate(Sensitivities.model_validate(sensitivities), budget_bytes)


def greedy_check(
    checkpoint: str,
    artifact: str,
    float_type: Any,
    threads: int,
    progress: Progress,
    runtime: str = "llama.cpp",
    prompts: list[str] | None = None,
) -> dict[str, Any]:
    """The CheckResult of `edgecomp.checks.greedy_check.check_greedy`."""
    import torch

    from edgecomp.checks.greedy_check import PROMPTS, check_greedy
    from edgecomp.runtimes.protocol import find_runtime

    torch.set_num_threads(threads)
    result = check_greedy(
        Path(checkpoint),
        Path(artifact),
        float_type,
        find_runtime(runtime),
        threads=threads,
        prompts=prompts or PROMPTS,
        progress=progress,
    )
    return result.model_dump()


def encoder_check(
    checkpoint: str, artifact: str, threads: int, progress: Progress, *, rounded: bool
) -> list[dict[str, Any]]:
    """The CheckResults of `edgecomp.checks.encoder_check.check_encoder`."""
    import torch

    from edgecomp.checks.encoder_check import check_encoder

    torch.set_num_threads(threads)
    results = check_encoder(Path(checkpoint), Path(artifact), rounded=rounded)
    return [result.model_dump() for result in results]


if __name__ == "__main__":
    serve(
        {
            "importance": importance,
            "round": round_weights,
            "prune": prune,
            "make_smaller": make_smaller,
            "cache_targets": write_targets,
            "distill": train_student,
            "sensitivities": sensitivities,
            "allocate": allocate,
            "greedy_check": greedy_check,
            "encoder_check": encoder_check,
        }
    )
