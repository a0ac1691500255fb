"""Keep llama.cpp's converter of the very version of the runtime, for families without rows here.

    python tools/keep_converter.py llama-cpp-python==0.3.36 KEPT FOLDER

It stands in llama-cpp-python's source distribution, which is downloaded once: what is taken of it
is kept below KEPT and copied to FOLDER. Beside it `families.json` says which Hugging Face classes
it writes as which family, and which families the runtime of this version loads; for that the
converter is imported once, so its packages have to be installed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

PARTS = ("conversion", "gguf-py", "LICENSE")
RUNTIME_FAMILIES = "src/llama-arch.cpp"
FAMILIES = "families.json"
LIST_CLASSES = """
import json
import gguf
from conversion import ModelBase, ModelType, load_all_models
load_all_models()
rows = ModelBase._model_classes[ModelType.TEXT].items()
print(json.dumps({name: gguf.MODEL_ARCH_NAMES[kind.model_arch] for name, kind in rows}))
"""


def download(requirement: str, folder: Path) -> Path:
    """The source distribution, downloaded into `folder`."""
    command = ["download", "--quiet", "--no-deps", "--no-binary", "llama-cpp-python"]
    subprocess.run(
        [sys.executable, "-m", "pip", *command, "--dest", str(folder), requirement], check=True
    )
    return next(folder.glob("*.tar.gz"))


def wanted_name(name: str) -> str | None:
    """Where a file of the source distribution is kept; None where it is not."""
    _, _, inside = name.partition("/vendor/llama.cpp/")
    parts = PurePosixPath(inside).parts
    return inside if parts and ".." not in parts and _is_wanted(inside, parts[0]) else None


def _is_wanted(inside: str, first: str) -> bool:
    return first in PARTS or inside == RUNTIME_FAMILIES


def unpack(archive: Path, folder: Path) -> None:
    """Take the converter, and the runtime's list of families, out of the source distribution."""
    with tarfile.open(archive) as opened:
        for member in opened:
            name = wanted_name(member.name)
            content = opened.extractfile(member) if name and member.isfile() else None
            if name and content:
                place = folder / name
                place.parent.mkdir(parents=True, exist_ok=True)
                with place.open("wb") as output:
                    shutil.copyfileobj(content, output)


def families_of_runtime(source: str) -> list[str]:
    """The families in llama.cpp's table `LLM_ARCH_NAMES`, by the names that GGUF files give."""
    table = source.partition("LLM_ARCH_NAMES = {")[2].partition("};")[0]
    return re.findall(r"\{\s*LLM_ARCH_\w+\s*,\s*\"([\w.-]+)\"", table)


def classes_of_converter(folder: Path) -> dict[str, str]:
    """Hugging Face class -> GGUF family, as the converter registers them."""
    path = os.pathsep.join(map(str, (folder / "gguf-py", folder)))
    environment = {**os.environ, "PYTHONPATH": path, "NO_LOCAL_GGUF": "1"}
    done = subprocess.run(
        [sys.executable, "-c", LIST_CLASSES], env=environment, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    classes: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return classes


def keep(requirement: str, folder: Path) -> None:
    """Put the converter and its families into the new folder `folder`, whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".converter-", dir=folder.parent) as name:
        made = Path(name) / "made"
        unpack(download(requirement, Path(name)), made)
        runtime = (made / RUNTIME_FAMILIES).read_text(encoding="utf-8")
        families = {
            "schema_version": 1,
            "version": requirement.partition("==")[2],
            "classes": classes_of_converter(made),
            "runtime": families_of_runtime(runtime),
        }
        shutil.rmtree(made / "src")
        (made / FAMILIES).write_text(json.dumps(families, indent=1) + "\n", encoding="utf-8")
        made.rename(folder)


def main(requirement: str, kept: str, destination: str) -> int:
    """0 where the converter lies in the folder `destination` now; else the reason is printed."""
    kept_folder = Path(kept) / f"converter-{requirement.partition('==')[2]}"
    try:
        if not (kept_folder / FAMILIES).is_file():
            shutil.rmtree(kept_folder, ignore_errors=True)
            keep(requirement, kept_folder)
    except (OSError, subprocess.CalledProcessError, StopIteration, tarfile.TarError) as error:
        print(f"llama.cpp's converter could not be kept: {error}. Families without rows of our own "
              "cannot be read from Hugging Face folders.", file=sys.stderr)  # fmt: skip
        return 1
    shutil.rmtree(destination, ignore_errors=True)
    shutil.copytree(kept_folder, destination)
    print(f"llama.cpp's converter ({kept_folder.name}) lies in {destination}.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
