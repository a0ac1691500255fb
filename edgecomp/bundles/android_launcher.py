"""A shell script that pushes an artifact to an Android phone and chats with it there, by adb and a
runtime's own program: llama.cpp's `llama-cli`, or onnxruntime-genai's `model_chat`."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from edgecomp.bundles.launchers import llama_server_arguments
from edgecomp.devices.profile import DeviceProfile
from edgecomp.recipes.run_settings import RunSettings

SCRIPT = """\
#!/bin/sh
# Pushes the model to the phone that adb sees, and chats with it there.
#   ./run.sh BUILD   the first time: BUILD is a folder with {runtime} built for Android
#   ./run.sh         afterwards
# With several phones, say which one in ANDROID_SERIAL.
cd "$(dirname "$0")/.." || exit 1
adb get-state >/dev/null || exit 1
adb shell mkdir -p {programs}{folders} || exit 1
if [ $# -gt 0 ]; then
    adb push "$1/." {programs}/ || exit 1
fi
push() {{
    there=$(adb shell "sha256sum {folder}/$1 2>/dev/null" | cut -c 1-64)
    [ "$there" = "$2" ] && return
    adb push "$1" "{folder}/$1.partial" && adb shell mv "{folder}/$1.partial" "{folder}/$1"
}}
{pushes}
adb shell -t {line}
code=$?
if [ $code -eq 127 ]; then
    echo "There is no {program} in {programs}: ./run.sh BUILD pushes it." >&2
fi
exit $code
"""


def is_android(device: DeviceProfile) -> bool:
    """A phone that is not Apple's."""
    backends = {processor.backend for processor in device.processors}
    return device.kind == "phone" and "metal" not in backends


def android_script(
    model_file: str,
    sha256: str,
    settings: RunSettings,
    projector: tuple[str, str] | None = None,
) -> str:
    """The script for `android/run.sh` of a bundle.

    `model_file` is a name without characters that a shell reads as its own; `sha256` is its hash,
    by which a phone that has it already is spared the copy. `projector`: the same two of the file
    that reads pictures or sounds.
    """
    files = [(model_file, sha256), *([projector] if projector else [])]
    arguments = llama_server_arguments(
        f"{FOLDER}/{model_file}", settings, f"{FOLDER}/{projector[0]}" if projector else None
    )
    # One person chats: llama-cli knows no parallel sequences.
    place = arguments.index("--parallel")
    del arguments[place : place + 2]
    return SCRIPT.format(
        runtime="llama.cpp",
        program="llama-cli",
        programs=LLAMA_FOLDER,
        folder=FOLDER,
        folders="",
        pushes=_pushes(files),
        line=shlex.quote(program_line(LLAMA_FOLDER, "llama-cli", shlex.join(arguments))),
    )


def onnx_android_script(folder: str, digests: Mapping[str, str], settings: RunSettings) -> str:
    """The script for an ONNX artifact: a `folder` of the bundle, and the hash of each of its files.

    `model_chat` follows the folder's own configuration. Names are without characters that a shell
    reads as its own.
    """
    arguments = ["-m", f"{FOLDER}/{folder}", "-l", str(settings.context), "-v"]
    return SCRIPT.format(
        runtime="onnxruntime-genai's examples/c",
        program="model_chat",
        programs=GENAI_FOLDER,
        folder=FOLDER,
        folders=f" {FOLDER}/{folder}",
        pushes=_pushes([(f"{folder}/{name}", digest) for name, digest in digests.items()]),
        line=shlex.quote(program_line(GENAI_FOLDER, "model_chat", shlex.join(arguments))),
    )


def _pushes(files: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"push {shlex.quote(name)} {digest} || exit 1" for name, digest in files)


FOLDER = PurePosixPath("/data/local/tmp/edgecomp")
"""Where a program that is no app may be run from on Android; what is pushed stays."""


LLAMA_FOLDER = FOLDER / "llama.cpp"
GENAI_FOLDER = FOLDER / "onnxruntime-genai"


def program_line(folder: PurePosixPath, program: str, arguments: str) -> str:
    """A shell line for the device that runs a program of a runtime, from wherever in `folder` a
    build or an installed tree has it; exit code 127 where none has."""
    return (
        f"cd {folder} 2>/dev/null || exit 127; [ -f {program} ] || cd bin 2>/dev/null; "
        f"[ -f {program} ] || exit 127; chmod 755 {program}; "
        f"LD_LIBRARY_PATH=.:../lib:lib ./{program} {arguments}"
    )
