"""Bundles on this machine: those remembered, and those in the folder where the app was started."""

from __future__ import annotations

from pathlib import Path

from .recent import read_recent

REPORT = "report.json"


def find_bundles() -> list[Path]:
    """Folders that hold a report, the newest first."""
    here = (path.parent.absolute() for path in Path().glob(f"*/{REPORT}"))
    folders = {*read_recent().bundles, *here}
    present = [folder for folder in folders if (folder / REPORT).is_file()]
    return sorted(present, key=lambda folder: (folder / REPORT).stat().st_mtime, reverse=True)
