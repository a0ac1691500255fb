"""The planned compute buffer of each family beside llama.cpp's, at widths that people run.

    PYTHONPATH=tests python benchmarks/compute_buffer.py [FAMILY...]

The tiny families of tests/tiny_families.py, four times as wide (1,024; 16 heads of 64, feed-forward
blocks of 3,072 unless the family has its own). One line a family: how far the plan is from what
llama.cpp reports of a load without allocation, for a micro batch of 512 tokens, at each context
with flash attention; with logits of all tokens; without flash attention; and with a Q8_0 cache.
Each family in a process of its own.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tiny_families
from tiny_families import FAMILIES, Family, write_family

TIMES = 4
SHAPE = {
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "max_position_embeddings": 8192,
}
WIDENED = frozenset(
    ("d_model", "ffn_hidden_size", "hidden_size_per_layer_input", "intermediate_size",
     "intermediate_size_mlp", "kv_lora_rank", "kv_n_heads", "linear_num_key_heads",
     "linear_num_value_heads", "mamba_d_ssm", "mamba_dt_rank", "mamba_n_heads", "mamba_num_heads",
     "max_seq_len", "moe_intermediate_size", "moe_shared_expert_intermediate_size", "n_ctx",
     "n_heads", "num_heads", "num_key_value_heads", "prefix_dense_intermediate_size",
     "q_lora_rank", "shared_expert_intermediate_size", "shared_intermediate_size",
     "swa_num_attention_heads", "swa_num_key_value_heads", "time_step_rank")
)  # fmt: skip
"""Entries of a config that grow with the width."""

AS_IT_IS = {"gemma3n_text": ("hidden_size_per_layer_input",)}
"""llama.cpp has one length for these, whatever the file says."""

CASES = {
    "512": {"context": 512},
    "2,048": {"context": 2048},
    "8,192": {"context": 8192},
    "all logits": {"context": 2048, "outputs": 512},
    "512, no flash": {"context": 512, "flash_attention": False},
    "2,048, no flash": {"context": 2048, "flash_attention": False},
    "8,192, no flash": {"context": 8192, "flash_attention": False},
    "Q8_0 cache": {"context": 2048, "kv_type": "Q8_0"},
}
WITHIN = 0.02


def widened(entries: Mapping[str, Any], family: str) -> dict[str, Any]:
    """A family's changes to the config; those of a tower stay, but for what enters the text."""
    found: dict[str, Any] = {}
    for key, value in entries.items():
        if key in ("vision_config", "audio_config"):
            joins = ("out_hidden_size", *(("hidden_size",) if family == "qwen2_vl" else ()))
            found[key] = value and {k: v * TIMES if k in joins else v for k, v in value.items()}
        elif isinstance(value, Mapping):
            found[key] = widened(value, family)
        elif key in WIDENED and key not in AS_IT_IS.get(family, ()):
            many = [n * TIMES for n in value] if isinstance(value, list) else value * TIMES
            found[key] = many if value else value
        else:
            found[key] = SHAPE["hidden_size"] if (key, value) == ("hidden_size", 256) else value
    return found


def wide(family: Family) -> Family:
    return family._replace(
        changes=widened(family.changes, family.name),
        published=widened(family.published, family.name),
    )


def examine(name: str) -> None:
    """Print one family's row."""
    from edgecomp.exporters.gguf import export
    from edgecomp.models.reading import read_model
    from edgecomp.planning.memory import compute_bytes
    from edgecomp.recipes.run_settings import RunSettings
    from edgecomp.runtimes.llama_cpp.client import LlamaCpp

    tiny_families.SHAPE.update(SHAPE)
    family = wide(next(row for row in FAMILIES if row.name == name))
    with tempfile.TemporaryDirectory() as scratch:
        folder, file = Path(scratch) / name, Path(scratch) / "wide.gguf"
        write_family(family, folder)
        export(read_model(folder), file, "F16")
        model, cells = read_model(file), []
        for case in CASES.values():
            settings = RunSettings.model_validate(case | {"threads": 1})
            reported = LlamaCpp().buffers(file, settings, allocate=False)["compute"]
            cells.append(f"{compute_bytes(model, settings) / reported - 1:+.1%}")
    print(f"| {name} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    if sys.argv[1:2] == ["--one"]:
        examine(sys.argv[2])
        return
    names = sys.argv[1:] or [family.name for family in FAMILIES]
    print(f"| family | {' | '.join(CASES)} |\n|{' --- |' * (len(CASES) + 1)}", flush=True)
    within = made = 0
    for name in names:
        done = subprocess.run(
            [sys.executable, __file__, "--one", name], capture_output=True, text=True
        )
        row = next((line for line in done.stdout.splitlines() if line.startswith("| ")), "")
        if not row:
            said = " ".join((done.stderr.splitlines() or ["nothing"])[-1].split())
            print(f"| {name} | no: {said[:100]} |", flush=True)
            continue
        print(row, flush=True)
        shares = [float(cell.strip(" %")) / 100 for cell in row.split("|")[2:-1]]
        made += 1
        within += max(map(abs, shares)) <= WITHIN
    print(f"\nOf {made} families {within} are within {WITHIN:.0%} in every case.")


if __name__ == "__main__":
    main()
