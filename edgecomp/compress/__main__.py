"""The worker process for work with torch: its memory and its crashes stay its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgecomp.events import Progress
from edgecomp.runtimes.child import serve


def importance(
    checkpoint: str,
    tokens: str,
    destination: str,
    datasets: list[str],
    threads: int,
    progress: Progress,
) -> None:
    """Write the importance matrix of `checkpoint`; `tokens` is an .npy file [rows, length]."""
    import numpy as np
    import torch

    from edgecomp.compress.importance import compute_importance

    torch.set_num_threads(threads)
    compute_importance(
        Path(checkpoint),
        torch.from_numpy(np.load(tokens)),
        Path(destination),
        datasets=datasets,
        device="cuda" if torch.cuda.is_available() else "cpu",
        progress=progress,
    )


def greedy_check(
    checkpoint: str, artifact: str, float_type: Any, threads: int, progress: Progress
) -> dict[str, Any]:
    """The CheckResult of `edgecomp.greedy_check.check_greedy`."""
    import torch

    from edgecomp.greedy_check import check_greedy
    from edgecomp.runtimes.protocol import find_runtime

    torch.set_num_threads(threads)
    result = check_greedy(
        Path(checkpoint),
        Path(artifact),
        float_type,
        find_runtime("llama.cpp"),
        threads=threads,
        progress=progress,
    )
    return result.model_dump()


if __name__ == "__main__":
    serve({"importance": importance, "greedy_check": greedy_check})
