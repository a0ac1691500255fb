#!/bin/sh
# Runs check.py with this repository's packages, installed or not, and no network.
# PYTHON names a Python that has torch, transformers and the other packages of requirements.lock.
set -eu
here=$(cd "$(dirname "$0")/../.." && pwd)
python=${PYTHON:-$here/.venv/bin/python}
[ -x "$python" ] || python=$(command -v python3)

# As pyproject.toml maps them, where this very tree is not installed.
packages=$(mktemp -d)
trap 'rm -rf "$packages"' EXIT
mkdir "$packages/edgecomp"
for part in "$here"/edgecomp/* "$here/exporters" "$here/tui" "$here/device_profiles"; do
    ln -sf "$part" "$packages/edgecomp/"
done
PYTHONPATH=$packages${PYTHONPATH:+:$PYTHONPATH} HF_HUB_OFFLINE=1 "$python" "$here/benchmarks/gpu/check.py" "$@"
