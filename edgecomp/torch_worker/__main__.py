"""The worker process for work with torch: its memory and its crashes stay its own."""

from __future__ import annotations

from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecomp.common.digests import file_digest
from edgecomp.common.events import Progress
from edgecomp.models.spec import EMBEDDING, OUTPUT
from edgecomp.processes.child import Handler, serve
from edgecomp.recipes.sparsity import parse_sparsity

if TYPE_CHECKING:
    from torch import Tensor


def on_threads(handler: Handler) -> Handler:
    """`handler`, run with as many of torch's threads as the request says."""

    @wraps(handler)
    def handle(*, threads: int, **arguments: Any) -> Any:
        import torch

        torch.set_num_threads(threads)
        return handler(**arguments)

    return handle


def _load_tokens(tokens: str) -> Tensor:
    """Token ids int64 [rows, length] from an .npy file."""
    import numpy as np
    import torch

    return torch.from_numpy(np.load(tokens))


def importance(
    checkpoint: str,
    tokens: str,
    destination: str,
    datasets: list[str],
    progress: Progress,
) -> None:
    """Write the importance matrix of `checkpoint`; `tokens` is an .npy file [rows, length]."""
    from edgecomp.compress.device import on_best_device
    from edgecomp.compress.importance import compute_importance

    ids = _load_tokens(tokens)
    on_best_device(
        lambda device: compute_importance(
            Path(checkpoint), ids, Path(destination), datasets=datasets, device=device,
            progress=progress,
        )
    )  # fmt: skip


def weigh_tokens(checkpoint: str, tokens: str, destination: str, progress: Progress) -> None:
    """Write what each token counts in each linear of `checkpoint`; `tokens` is an .npy file."""
    from edgecomp.compress.device import on_best_device
    from edgecomp.compress.token_weights import measure_token_weights

    ids = _load_tokens(tokens)
    on_best_device(
        lambda device: measure_token_weights(
            Path(checkpoint), ids, Path(destination), device=device, progress=progress
        )
    )


def round_weights(  # noqa: PLR0913 - what a request says, by name
    checkpoint: str,
    tokens: str,
    destination: str,
    rounding: str,
    types: dict[str, str | None],
    progress: Progress,
    token_weights: str | None = None,
) -> None:
    """Choose codes for the matrices inside the blocks of `checkpoint`, and for the output head
    where GPTQ solves its type, or that is ONNX's, as an embedding's may be. `types` goes by GGUF
    name; matrices of types without a solver stay, and those of none are not even scaled.
    `token_weights`: a file of `weigh_tokens`, by which tokens count in error feedback."""
    import torch

    from edgecomp.compress.awq import awq_method
    from edgecomp.compress.blocks import walk
    from edgecomp.compress.destination import Destination
    from edgecomp.compress.device import on_best_device
    from edgecomp.compress.gguf_types import SOLVED_GRIDS, grids_of_types, named_in
    from edgecomp.compress.gptq import gptq_method
    from edgecomp.compress.head import HeadSolver, round_head
    from edgecomp.compress.onnx_grids import ONNX_GRIDS
    from edgecomp.compress.rtn import rtn
    from edgecomp.compress.token_weights import stored_weights
    from edgecomp.models.reading import read_model

    weights = stored_weights(Path(token_weights)) if token_weights else None
    solved = {
        name: kind
        for name, kind in types.items()
        if name not in (EMBEDDING, OUTPUT) and kind is not None and kind in SOLVED_GRIDS
    }
    grid_of = grids_of_types(Path(checkpoint), solved)
    kept = [name for name, kind in types.items() if kind is None]
    is_kept = named_in(Path(checkpoint), kept)
    method = {
        "rtn": lambda: rtn(grid_of, use_importance=True),
        "gptq": lambda: gptq_method(grid_of, weights=weights),
        "awq": lambda: awq_method(grid_of, is_kept=is_kept, weights=weights),
        "awq+gptq": lambda: awq_method(grid_of, solver="gptq", is_kept=is_kept, weights=weights),
    }[rounding]()
    ids = _load_tokens(tokens)
    head_name = read_model(Path(checkpoint)).head_name
    head_kind = types.get(head_name)
    if rounding not in ("gptq", "awq+gptq") or head_kind not in SOLVED_GRIDS:
        head_kind = None
    job = f"{rounding} {sorted(solved.items())} {sorted(kept)}"
    if head_kind:
        job += f" {head_kind}"
    if token_weights:
        job += f" {file_digest(Path(token_weights))}"
    written = Destination(Path(destination), job, torch.float32)

    def walked(device: str) -> None:
        head = None
        if head_kind:
            head = HeadSolver(Path(checkpoint), Path(destination), head_kind, ids.numel())
        walk(
            Path(checkpoint), ids, method,
            destination=written, final=head, device=device, progress=progress,
        )  # fmt: skip

    on_best_device(walked)
    for name in (EMBEDDING, OUTPUT):
        kind = types.get(name)
        solved_before = head_kind is not None and name == head_name
        if kind is not None and kind in ONNX_GRIDS and not solved_before:
            round_head(Path(checkpoint), Path(destination), name, kind)


def prune(
    checkpoint: str,
    tokens: str,
    destination: str,
    method: str,
    sparsity: str,
    progress: Progress,
) -> None:
    """Set a share of the weights inside the blocks to zero."""
    from edgecomp.compress.blocks import walk
    from edgecomp.compress.destination import Destination
    from edgecomp.compress.device import on_best_device
    from edgecomp.compress.magnitude import magnitude_method
    from edgecomp.compress.sparsegpt import sparsegpt_method
    from edgecomp.compress.wanda import wanda_method

    methods = {
        "sparsegpt": sparsegpt_method,
        "wanda": wanda_method,
        "magnitude": magnitude_method,
    }
    ids = _load_tokens(tokens)
    prune_block = methods[method](parse_sparsity(sparsity))
    written = Destination(Path(destination), f"{method} {sparsity}")
    on_best_device(
        lambda device: walk(
            Path(checkpoint), ids, prune_block, destination=written, device=device,
            progress=progress,
        )
    )  # fmt: skip


def make_smaller(
    checkpoint: str,
    tokens: str,
    destination: str,
    sizes: dict[str, int | None],
    progress: Progress,
) -> None:
    """Write the smaller model that keeps the most important parts of `checkpoint`."""
    import shutil

    from edgecomp.compress.device import on_best_device
    from edgecomp.compress.structured import measure_importance, prune
    from edgecomp.recipes.smaller_model import Sizes

    ids = _load_tokens(tokens)
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
    progress: Progress,
) -> None:
    """Write down the teacher's logits and states on the tokens, for a student to learn from."""
    from edgecomp.compress.device import on_best_device
    from edgecomp.compress.distill_targets import TargetKind, cache_targets

    ids, kind = _load_tokens(tokens), TargetKind(top_k, temperature)
    on_best_device(
        lambda device: cache_targets(
            Path(teacher), ids, Path(destination), kind, device=device, progress=progress
        )
    )  # fmt: skip


def train_student(
    student: str,
    tokens: str,
    targets: str,
    destination: str,
    stage: dict[str, Any],
    progress: Progress,
) -> dict[str, Any]:
    """Train a student towards the targets of a DistillStage, on every GPU where there are some; the
    History of its divergence."""
    import torch

    from edgecomp.compress.device import on_best_device
    from edgecomp.compress.distill import Training, distill
    from edgecomp.compress.distill_targets import Targets
    from edgecomp.recipes.stages import DistillStage

    ids, wanted = _load_tokens(tokens), DistillStage.model_validate(stage)
    training = Training(Path(student), ids, Targets(Path(targets)), Path(destination), wanted)
    history = on_best_device(
        lambda device: distill(
            training, device=device,
            devices=torch.cuda.device_count() if device != "cpu" else 1, progress=progress,
        )
    )  # fmt: skip
    return history.model_dump(mode="json")


def tune(
    rounded: str,
    tokens: str,
    targets: str,
    destination: str,
    settings: dict[str, Any],
    progress: Progress,
) -> dict[str, Any]:
    """Tune the scales and norms of a rounded checkpoint towards the targets; the Tuned."""
    from edgecomp.compress.device import on_best_device
    from edgecomp.compress.distill_targets import Targets
    from edgecomp.compress.tuning import Tuning, tune
    from edgecomp.recipes.tuning import TuningSettings

    ids, wanted = _load_tokens(tokens), TuningSettings.model_validate(settings)
    job = Tuning(Path(rounded), ids, Targets(Path(targets)), Path(destination), wanted)
    found = on_best_device(lambda device: tune(job, device=device, progress=progress))
    return found.model_dump(mode="json")


def sensitivities(
    checkpoint: str,
    tokens: str,
    types: list[str],
    rows: int,
    carried_rows: int,
    progress: Progress,
) -> dict[str, Any]:
    """The Sensitivities of `checkpoint` to `types`, measured on the first `rows` rows of tokens; on
    `carried_rows` of them at the head."""
    from edgecomp.compress.device import on_best_device
    from edgecomp.compress.sensitivity import measure_sensitivities

    ids = _load_tokens(tokens)[:rows]
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
    progress: Progress,
    runtime: str = "llama.cpp",
    prompts: list[str] | None = None,
) -> dict[str, Any]:
    """The CheckResult of `edgecomp.checks.greedy_check.check_greedy`."""
    from edgecomp.checks.greedy_check import PROMPTS, check_greedy
    from edgecomp.runtimes.protocol import find_runtime

    result = check_greedy(
        Path(checkpoint),
        Path(artifact),
        float_type,
        find_runtime(runtime),
        prompts or PROMPTS,
        progress=progress,
    )
    return result.model_dump()


def learned_check(
    checkpoint: str, artifact: str, float_type: Any, progress: Progress
) -> dict[str, Any]:
    """The LearnedCheck of `edgecomp.checks.greedy_check.check_learned`."""
    from edgecomp.checks.greedy_check import check_learned
    from edgecomp.runtimes.protocol import find_runtime

    runtime = find_runtime("llama.cpp")
    found = check_learned(Path(checkpoint), Path(artifact), float_type, runtime, progress=progress)
    return found.model_dump()


def learn_layout(checkpoint: str, float_file: str, progress: Progress) -> dict[str, Any]:
    """The LearnedLayout of `edgecomp.models.learned_layout.learn_layout`."""
    from edgecomp.models.learned_layout import learn_layout

    return learn_layout(Path(checkpoint), Path(float_file)).model_dump()


def encoder_check(
    checkpoint: str, artifact: str, progress: Progress, *, rounded: bool
) -> list[dict[str, Any]]:
    """The CheckResults of `edgecomp.checks.encoder_check.check_encoder`."""
    from edgecomp.checks.encoder_check import check_encoder

    results = check_encoder(Path(checkpoint), Path(artifact), rounded=rounded)
    return [result.model_dump() for result in results]


if __name__ == "__main__":
    serve(
        {
            "importance": on_threads(importance),
            "round": on_threads(round_weights),
            "token_weights": on_threads(weigh_tokens),
            "prune": on_threads(prune),
            "make_smaller": on_threads(make_smaller),
            "cache_targets": on_threads(write_targets),
            "distill": on_threads(train_student),
            "tune": on_threads(tune),
            "sensitivities": on_threads(sensitivities),
            "allocate": allocate,
            "greedy_check": on_threads(greedy_check),
            "learned_check": on_threads(learned_check),
            "learn_layout": learn_layout,
            "encoder_check": on_threads(encoder_check),
        }
    )
