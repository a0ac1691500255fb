"""`python -m edgecomp.tui`: the app in this terminal; what `--serve` starts for each visitor."""

from __future__ import annotations

import sys
from pathlib import Path

from .app import run_app

if __name__ == "__main__":
    run_app(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
