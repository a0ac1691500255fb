"""A distillation on disk: its state as plain tensors, and the record of what was measured.

`distillation.safetensors` holds the weights and AdamW's moments of the last measurement and the
best weights seen; `distillation.json` the settings and the history. A killed run goes on from them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from edgecomp.common.atomic import write_text
from edgecomp.compress.checkpoint import copy_companions, find_stored, write_shard
from edgecomp.models.huggingface.model import read_json, stored_tensors
from edgecomp.recipes.distillation import Distillation, History

BEST = "best."
STATE, HISTORY = "distillation.safetensors", "distillation.json"
MOMENTS = ("step", "exp_avg", "exp_avg_sq")
"""What AdamW keeps of each parameter."""

Named = Sequence[tuple[str, nn.Parameter]]


def save_state(
    folder: Path,
    parameters: Named,
    optimizer: Any,
    step: int,
    best: Iterable[tuple[str, nn.Parameter]] | None,
) -> None:
    """Write the state after `step` steps; `best`: the student's weights where they are the best so
    far, None where the best ones are already there."""
    tensors: dict[str, Tensor] = {"step": torch.tensor(step)}
    for name, parameter in parameters:
        tensors[f"weight.{name}"] = parameter.detach()
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{key}.{name}"] = value
    if best is None:
        old = load_file(folder / STATE)
        tensors |= {name: tensor for name, tensor in old.items() if name.startswith(BEST)}
    else:
        tensors |= {f"{BEST}{name}": weight.detach().clone() for name, weight in best}
    write_shard(folder / STATE, tensors)


def save_record(folder: Path, settings: Distillation, history: History) -> None:
    """Write what was measured; after the state, so that a kill between the two loses no more than
    one measurement."""
    said = {"settings": settings.model_dump(), "history": history.model_dump(mode="json")}
    write_text(folder / HISTORY, json.dumps(said, indent=2) + "\n")


@torch.no_grad()
def take_up(
    folder: Path, settings: Distillation, parameters: Named, optimizer: Any
) -> tuple[int, History] | None:
    """Restore the parameters and the optimizer from a run with these settings, if `folder` holds
    one: the steps it had taken, and its history up to there."""
    state, record = folder / STATE, folder / HISTORY
    if not (state.is_file() and record.is_file()):
        return None
    said = read_json(record)
    if said.get("settings") != settings.model_dump():
        return None
    tensors = load_file(state)
    for name, parameter in parameters:
        parameter.copy_(tensors[f"weight.{name}"])
        optimizer.state[parameter] = {
            key: tensors[f"{key}.{name}"].to(parameter.device if key != "step" else "cpu")
            for key in MOMENTS
            if f"{key}.{name}" in tensors
        }
    step, history = int(tensors["step"]), History.model_validate(said["history"])
    kept = tuple(point for point in history.points if point.step <= step)
    return step, history.model_copy(update={"points": kept})


def write_best(folder: Path, student: Path) -> None:
    """Make `folder` a checkpoint with the best weights and the names of `student`'s.

    Raises ArchitectureUnsupported where the student stores no weight of a trained parameter.
    """
    stored = stored_tensors(student)
    weights = {
        find_stored(stored, name.removeprefix(BEST)).name: tensor
        for name, tensor in load_file(folder / STATE).items()
        if name.startswith(BEST)
    }
    write_shard(folder / "model.safetensors", weights)
    copy_companions(student, folder, torch.float32)
    (folder / STATE).unlink()
