"""Calibration mixes: which sources of text a method sees, and how many samples of each."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, NonNegativeInt

from edgecomp.common.errors import CalibrationRefused
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.common.tasks import SourceName, Task
from edgecomp.common.yaml_file import read_yaml

FEWEST_SAMPLES, MOST_SAMPLES = 128, 512
"""R31."""


SENSITIVITY_ROWS = 8
"""Rows of the calibration on which types are compared: some thousand tokens rank the tensors."""


CARRIED_ROWS = 2
"""Rows among them on which types are tried and divergence is measured."""


MIXES: dict[Task, dict[SourceName, int]] = {
    "general": {"instructions": 48, "math": 40, "text": 40},
    "knowledge": {"knowledge": 64, "text": 64},
    "reasoning": {"math": 256, "general_reasoning": 128, "text": 128},
    "multilingual": {"multilingual": 96, "text": 32},
    "instruction": {"instructions": 96, "text": 32},
    "code": {"code": 96, "math": 32},
    "safety": {"safety": 64, "instructions": 64},
}
"""R32-R34 by task; `reasoning` is the 256/128/128 recipe of R87-R90."""


TASK_SOURCES: dict[Task, tuple[SourceName, ...]] = {
    "general": ("instructions", "math", "general_reasoning", "knowledge"),
    "knowledge": ("knowledge", "text"),
    "reasoning": ("math", "general_reasoning"),
    "multilingual": ("multilingual",),
    "instruction": ("instructions",),
    "code": ("code",),
    "safety": ("safety", "instructions"),
}


STRICT_TASKS: tuple[Task, ...] = ("code", "reasoning")
"""For these, generic text alone is refused without an override (R35)."""


class CalibrationMix(FrozenModel):
    """Samples a source, and the row length they are packed to."""

    schema_version: Literal[1] = 1
    samples: dict[SourceName, NonNegativeInt] = Field(min_length=1)
    row_tokens: int = Field(default=256, ge=16)
    seed: int = 0

    @property
    def total(self) -> int:
        return sum(self.samples.values())


def preset_mix(task: Task, seed: int = 0) -> CalibrationMix:
    """The mix for a task."""
    return CalibrationMix(samples=MIXES[task], seed=seed)


def read_mix(path: Path) -> CalibrationMix:
    """Read a mix from a YAML file. Raises RecipeInvalid, naming the line and the field."""
    return read_yaml(path, CalibrationMix, "calibration mix")


def check_mix(mix: CalibrationMix, task: Task, *, override: bool = False) -> tuple[str, ...]:
    """Warnings about a mix for a task (R21, R31, R35).

    Raises CalibrationRefused where only generic text would calibrate a code or reasoning model.
    """
    warnings = []
    matching = sum(mix.samples.get(name, 0) for name in TASK_SOURCES[task])
    if not matching and task in STRICT_TASKS and not override:
        raise CalibrationRefused(
            f"The calibration has no sample that matches the task {task}: generic text keeps "
            f"knowledge and loses {task}. Add {' or '.join(TASK_SOURCES[task])} to the mix."
        )
    if not matching:
        warnings.append(
            f"The calibration is generic and the task is {task}: expect it to lose more than "
            f"knowledge does. Add {' or '.join(TASK_SOURCES[task])} to the mix."
        )
    if not FEWEST_SAMPLES <= mix.total <= MOST_SAMPLES:
        warnings.append(
            f"{mix.total} calibration samples are outside the usual {FEWEST_SAMPLES} to "
            f"{MOST_SAMPLES}."
        )
    return tuple(warnings)
