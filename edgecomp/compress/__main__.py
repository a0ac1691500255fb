"""The worker process for work with torch: its memory and its crashes stay its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecomp.events import Progress
from edgecomp.runtimes.child import serve
from edgecomp.sparsity import parse_sparsity

if TYPE_CHECKING:
    from torch import Tensor


def _loaded(tokens: str, threads: int) -> Tensor:
    """Token ids int64 [rows, length] from an .npy file."""
    import numpy as np
    import torch

    torch.set_num_threads(threads)
    return torch.from_numpy(np.load(tokens))


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def importance(
    checkpoint: str,
    tokens: str,
    destination: str,
    datasets: list[str],
    threads: int,
    progress: Progress,
) -> None:
    """Write the importance matrix of `checkpoint`; `tokens` is an .npy file [rows, length]."""
    from edgecomp.compress.importance import compute_importance

    compute_importance(
        Path(checkpoint),
        _loaded(tokens, threads),
        Path(destination),
        datasets=datasets,
        device=_device(),
        progress=progress,
    )


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
    walk(
        Path(checkpoint),
        _loaded(tokens, threads),
        method,
        destination=Path(destination),
        job=f"{rounding} {sorted(solved.items())}",
        dtype=torch.float32,
        device=_device(),
        progress=progress,
    )
    for name in ("token_embd.weight", "output.weight"):
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
    from edgecomp.compress.magnitude import magnitude_method
    from edgecomp.compress.sparsegpt import sparsegpt_method
    from edgecomp.compress.wanda import wanda_method

    methods = {
        "sparsegpt": sparsegpt_method,
        "wanda": wanda_method,
        "magnitude": magnitude_method,
    }
    walk(
        Path(checkpoint),
        _loaded(tokens, threads),
        methods[method](parse_sparsity(sparsity)),
        destination=Path(destination),
        job=f"{method} {sparsity}",
        device=_device(),
        progress=progress,
    )


def greedy_check(
    checkpoint: str,
    artifact: str,
    float_type: Any,
    threads: int,
    progress: Progress,
    runtime: str = "llama.cpp",
    prompts: list[str] | None = None,
) -> dict[str, Any]:
    """The CheckResult of `edgecomp.greedy_check.check_greedy`."""
    import torch

    from edgecomp.greedy_check import PROMPTS, check_greedy
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


if __name__ == "__main__":
    serve(
        {
            "importance": importance,
            "round": round_weights,
            "prune": prune,
            "greedy_check": greedy_check,
        }
    )
