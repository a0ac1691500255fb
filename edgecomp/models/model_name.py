"""What a model is called by where it lies, and the folder its results go to.

The hub's cache names a snapshot's folder by a hash, so its owner and name are taken from the
layout: `models--OWNER--NAME/snapshots/REVISION`, or `hub-headers/OWNER/NAME/REVISION` where headers
alone were fetched. Nothing is cut off at a point: `Qwen2.5-0.5B` is a whole name.
"""

from __future__ import annotations

from pathlib import Path

from edgecomp.common.folders import HUB_HEADERS

GGUF = ".gguf"


def name_by_place(path: Path) -> str:
    """OWNER/NAME for a folder of the hub's cache, else the folder's own name, or the file's
    without `.gguf`."""
    if path.name.lower().endswith(GGUF):
        return path.name[: -len(GGUF)] or "model"
    resolved = path.resolve()
    return _hub_name(path.absolute()) or _hub_name(resolved) or resolved.name or "model"


def result_folder(model: str) -> Path:
    """Where `fit` writes unless told: `NAME-edge` in the working folder. `model` is what the user
    gave: a path, a hub id, or `demo`."""
    if model == "demo":
        return Path("demo-edge")
    return Path(f"{name_by_place(Path(model).expanduser()).rpartition('/')[2]}-edge")


def _hub_name(folder: Path) -> str | None:
    above = folder.parent
    if above.name == "snapshots" and above.parent.name.startswith("models--"):
        return above.parent.name.removeprefix("models--").replace("--", "/", 1)
    if above.parent.parent.name == HUB_HEADERS:
        return f"{above.parent.name}/{above.name}"
    return None
