"""What the app remembers between two starts: models, bundles, and the run that was not finished."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from edgecomp.common.atomic import write_text
from edgecomp.common.errors import EdgecompError
from edgecomp.common.folders import config_folder
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.jobs.background import FitRequest

MOST = 12


class Recent(FrozenModel):
    """The newest first."""

    schema_version: Literal[1] = 1
    models: tuple[str, ...] = ()
    bundles: tuple[Path, ...] = ()
    unfinished: FitRequest | None = None


def recent_path() -> Path:
    return config_folder() / "recent.json"


def read_recent() -> Recent:
    """What was remembered; nothing where the file is missing or of another version."""
    try:
        return Recent.model_validate_json(recent_path().read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        return Recent()


def remember_model(model: str) -> None:
    recent = read_recent()
    models = (model, *(other for other in recent.models if other != model))
    _write(recent.model_copy(update={"models": models[:MOST]}))


def remember_bundle(folder: Path) -> None:
    recent = read_recent()
    bundles = (folder, *(other for other in recent.bundles if other != folder))
    _write(recent.model_copy(update={"bundles": bundles[:MOST]}))


def remember_run(request: FitRequest | None) -> None:
    """Keep the run that is under way; None: it is finished or given up."""
    _write(read_recent().model_copy(update={"unfinished": request}))


def _write(recent: Recent) -> None:
    try:
        write_text(recent_path(), recent.model_dump_json(indent=1))
    except EdgecompError:
        # A settings folder that cannot be written costs the memory of past choices, no more.
        return
