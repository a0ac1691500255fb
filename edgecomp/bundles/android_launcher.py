"""A shell script that pushes a GGUF artifact to an Android phone and chats with it there, by adb
and llama.cpp's own `llama-cli`."""

from __future__ import annotations

import shlex
from pathlib import PurePosixPath

from edgecomp.bundles.launchers import llama_server_arguments
from edgecomp.devices.profile import DeviceProfile
from edgecomp.recipes.run_settings import RunSettings

SCRIPT = """\
#!/bin/sh
# Pushes the model to the phone that adb sees, and chats with it there.
#   ./run.sh BUILD   the first time: BUILD is a folder with llama.cpp built for Android
#   ./run.sh         afterwards
# With several phones, say which one in ANDROID_SERIAL.
cd "$(dirname "$0")/.." || exit 1
adb get-state >/dev/null || exit 1
adb shell mkdir -p {llama} || exit 1
if [ $# -gt 0 ]; then
    adb push "$1/." {llama}/ || exit 1
fi
push() {{
    there=$(adb shell "sha256sum {folder}/$1 2>/dev/null" | cut -c 1-64)
    [ "$there" = "$2" ] && return
    adb push "$1" "{folder}/.$1.partial" && adb shell mv "{folder}/.$1.partial" "{folder}/$1"
}}
{pushes}
adb shell -t {line}
code=$?
if [ $code -eq 127 ]; then
    echo "There is no llama-cli in {llama}: ./run.sh BUILD pushes it." >&2
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
        folder=FOLDER,
        llama=LLAMA_FOLDER,
        pushes="\n".join(f"push {name} {digest} || exit 1" for name, digest in files),
        line=shlex.quote(llama_line("llama-cli", shlex.join(arguments))),
    )


FOLDER = PurePosixPath("/data/local/tmp/edgecomp")
"""Where a program that is no app may be run from on Android; what is pushed stays."""


LLAMA_FOLDER = FOLDER / "llama.cpp"


def llama_line(program: str, arguments: str) -> str:
    """A shell line for the device that runs one of llama.cpp's programs, from wherever in
    LLAMA_FOLDER a build or an installed tree has it; exit code 127 where none has."""
    return (
        f"cd {LLAMA_FOLDER} 2>/dev/null || exit 127; [ -f {program} ] || cd bin 2>/dev/null; "
        f"[ -f {program} ] || exit 127; chmod 755 {program}; "
        f"LD_LIBRARY_PATH=.:../lib:lib ./{program} {arguments}"
    )
