"""The real app in a real terminal, driven from the model to the bundle."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

DRIVER = Path(__file__).parents[2] / "tools" / "tui_demo.py"


@pytest.mark.long
@pytest.mark.timeout(6000)
@pytest.mark.skipif(not shutil.which("tmux"), reason="tmux is not installed")
def test_the_demo_model_goes_from_model_to_verified_bundle(here: Path, demo_gguf: Path) -> None:
    frames = here / "frames.txt"
    done = subprocess.run(
        [sys.executable, str(DRIVER), str(frames)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    recorded = frames.read_text(encoding="utf-8")
    for words in ("Where its", "best for the task", "Performance", "Reliability", "Efficiency"):
        assert words in recorded
