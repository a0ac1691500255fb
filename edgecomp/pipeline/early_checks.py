"""What can be known to hinder a run before it starts: told in the first seconds, not after hours.

Nothing here works on weights, calibrates the machine, or begins a stage.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from edgecomp.calibration.calibration import check_sources
from edgecomp.common.atomic import require_writable
from edgecomp.common.errors import DiskFull
from edgecomp.common.folders import cache_folder
from edgecomp.common.tasks import Task
from edgecomp.formats.exporting import find_gguf_exporter
from edgecomp.models.chat_template import read_chat_template
from edgecomp.models.spec import ModelSpec
from edgecomp.recipes.calibration_mix import CalibrationMix, check_mix


def check_cache() -> None:
    """Raises NotWritable or DiskFull where no stage can be kept."""
    require_writable(cache_folder())


def check_model(spec: ModelSpec) -> None:
    """Raises what the model's config, tokenizer or chat template allow no artifact for: among them
    ModelIncomplete, ExportRefused and ChatTemplateBroken."""
    find_gguf_exporter().reservations(spec)
    check_template(spec.path)


def check_template(model: Path) -> None:
    """Raises ChatTemplateBroken where a plain conversation cannot be rendered."""
    template = read_chat_template(model)
    if template.source is not None:
        template.render([{"role": "user", "content": "Hello"}])


def check_calibration(
    mix: CalibrationMix, task: Task, data: Path | None, *, any_calibration: bool
) -> None:
    """Raises CalibrationRefused where the mix does not match the task, and DataMissing or
    DataMalformed for the data folder's texts."""
    check_mix(mix, task, override=any_calibration)
    check_sources(mix, data)


def check_disk(place: Path, size_bytes: int) -> None:
    """Raises DiskFull where a result of that size does not fit where it is to go."""
    folder = next(path for path in (place, *place.absolute().parents) if path.is_dir())
    if shutil.disk_usage(folder).free < size_bytes:
        raise DiskFull(place, size_bytes)
