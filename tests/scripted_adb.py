"""An adb that has a folder for a device: its shell lines are run by this machine's own shell, below
that folder, and its calls are written down."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

ADB = """#!{python}
import json, shutil, subprocess, sys
from pathlib import Path
device = Path({device!r})
log = device.with_name("calls.jsonl").open("a")
words = sys.argv[1:]
serial, (verb, *rest) = (words[1], words[2:]) if words[0] == "-s" else ("R5CT", words)
log.write(json.dumps([verb, *rest]) + "\\n")
if serial != "R5CT":
    sys.exit(f"error: device '{{serial}}' not found")
here = lambda text: text.replace("/data/local/tmp", f"{{device}}/data/local/tmp")
if verb == "get-state":
    print("device")
elif verb == "push":
    local, there = Path(rest[0]), Path(here(rest[1]))
    if local.is_dir():
        assert rest[0].endswith("/.")
        shutil.copytree(local, there, dirs_exist_ok=True)
    else:
        shutil.copyfile(local, there)
elif verb == "shell":
    line = " ".join(rest[1:] if rest[0] == "-t" else rest)
    sys.exit(subprocess.run(["sh", "-c", here(line)], cwd=device).returncode)
"""


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The device's folder; adb is on the PATH."""
    folder = tmp_path / "device"
    (folder / "data/local/tmp").mkdir(parents=True)
    program = tmp_path / "platform-tools" / "adb"
    program.parent.mkdir()
    program.write_text(ADB.format(python=sys.executable, device=str(folder)))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return folder


def calls(device: Path) -> list[list[str]]:
    lines = device.with_name("calls.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]
