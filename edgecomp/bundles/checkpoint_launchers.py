"""Shell scripts that serve a quantized checkpoint by vLLM or by SGLang.

Both read the quantization from config.json. Options as their documentation names them
(`vllm serve`, `sglang.launch_server`); neither is run where a bundle is made.
"""

from __future__ import annotations

import shlex

from edgecomp.recipes.run_settings import RunSettings

SCRIPT = """\
#!/bin/sh
# Serves the model on http://127.0.0.1:{port} by {server}, which must be installed here; further
# arguments are passed on. {server} was not run where this was made: edgecomp judged the model in
# transformers.
cd "$(dirname "$0")" || exit 1
exec {command} --host 127.0.0.1 --port {port} "$@"
"""

VLLM_PORT, SGLANG_PORT = 8000, 30_000
"""Each server's own."""


def vllm_script(folder: str, settings: RunSettings) -> str:
    """Serve the checkpoint in `folder` beside it with the plan's context, by vLLM."""
    command = [
        "vllm", "serve", f"./{folder}",
        "--served-model-name", folder,
        "--max-model-len", str(settings.context),
    ]  # fmt: skip
    return SCRIPT.format(port=VLLM_PORT, server="vLLM", command=shlex.join(command))


def sglang_script(folder: str, settings: RunSettings) -> str:
    """The same by SGLang."""
    command = [
        "python3", "-m", "sglang.launch_server",
        "--model-path", f"./{folder}",
        "--served-model-name", folder,
        "--context-length", str(settings.context),
    ]  # fmt: skip
    return SCRIPT.format(port=SGLANG_PORT, server="SGLang", command=shlex.join(command))
