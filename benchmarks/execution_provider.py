"""An ONNX folder with one of ONNX Runtime's execution providers: who computes which nodes, how
fast, in how much memory.

    python benchmarks/execution_provider.py FOLDER PROVIDER [OPTION=VALUE ...]

PROVIDER is ONNX Runtime's own name, such as OpenVINOExecutionProvider. Nothing of edgecomp is
imported: the Python may be that of another environment, which has the provider's package. One
thread; the tokens written tell whether two providers agree.
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

PROMPT = list(range(40, 104))
WRITTEN = 24


def main() -> None:
    """Print a row of a table, and the nodes by provider."""
    folder, provider = Path(sys.argv[1]), sys.argv[2]
    given = dict(argument.split("=", 1) for argument in sys.argv[3:])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_profiling = True
    with tempfile.TemporaryDirectory(prefix="edgecomp-provider-") as scratch:
        options.profile_file_prefix = f"{scratch}/profile"
        began = time.perf_counter()
        session = onnxruntime.InferenceSession(
            folder / "model.onnx",
            options,
            providers=list(dict.fromkeys([provider, "CPUExecutionProvider"])),
            provider_options=[given, {}][: 1 + (provider != "CPUExecutionProvider")],
        )
        load_seconds = time.perf_counter() - began
        if provider not in session.get_providers():
            raise SystemExit(f"{provider} found nothing to compute on here.")
        prompt_seconds, token_seconds, tokens = run(session, folder)
        profile = json.loads(Path(session.end_profiling()).read_text())
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(
        f"| {folder.name} | {provider} | {load_seconds:.1f} | {len(PROMPT) / prompt_seconds:.0f} | "
        f"{1 / statistics.median(token_seconds):.1f} | {peak_bytes / 1e6:,.0f} |"
    )
    print(f"first tokens {tokens[:12]}; nodes a run: {nodes(profile)}")


def run(session: Any, folder: Path) -> tuple[float, list[float], list[int]]:
    """Seconds of the prompt and of each token after it, and the tokens."""
    decoder = json.loads((folder / "genai_config.json").read_text())["model"]["decoder"]
    empty = (1, decoder["num_key_value_heads"], 0, decoder["head_size"])
    named = {row.name: row.type for row in session.get_inputs()}
    past = {
        name: np.zeros(empty, np.float16 if kind == "tensor(float16)" else np.float32)
        for name, kind in named.items()
        if name.startswith("past")
    }
    seconds, tokens, following = [], [], PROMPT
    for total in range(len(PROMPT), len(PROMPT) + WRITTEN):
        feed = {"input_ids": np.array([following]), "attention_mask": np.ones((1, total), np.int64)}
        if "position_ids" in named:
            feed["position_ids"] = np.arange(total - len(following), total)[None]
        began = time.perf_counter()
        answers = session.run(None, {**feed, **past})
        seconds.append(time.perf_counter() - began)
        found = dict(zip((row.name for row in session.get_outputs()), answers, strict=True))
        past = {name: found[name.replace("past_key_values", "present")] for name in past}
        following = [int(found["logits"][0, -1].argmax())]
        tokens += following
    return seconds[0], seconds[1:], tokens


def nodes(profile: list[dict[str, Any]]) -> dict[str, int]:
    """How many nodes each provider computes in a run, by operator where it is the CPU."""
    counted: Counter[str] = Counter()
    for event in profile:
        said = event.get("args", {})
        if event.get("cat") == "Node" and "provider" in said:
            on_cpu = said["provider"] == "CPUExecutionProvider"
            counted[f"CPU {said['op_name']}" if on_cpu else "by the provider"] += 1
    return {name: count // WRITTEN for name, count in counted.most_common()}


if __name__ == "__main__":
    main()
