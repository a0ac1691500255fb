"""What can be made of each family: a tiny random model of it, from Hugging Face's folder on.

    PYTHONPATH=tests python benchmarks/families.py [FAMILY...]

One line a family, as it is done: whose row or converter lays it out; the largest difference of a
logit between its float GGUF in llama.cpp and transformers, in standard deviations of the logits,
over 24 positions; whether torch can walk it block by block; how many of its block's matrices take
GPTQ's codes in Q4_K; whether llama.cpp quantizes it with importance from its own graph; whether
half of its weights can be pruned and exported again; how far the planned cache and states are from
what llama.cpp reports, over four contexts, and the planned compute buffer, with and without flash
attention; whether the ONNX builder writes it. Each family runs in
a process of its own: llama.cpp may end it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tiny_families import FAMILIES, UNLIKE, write_family

POSITIONS = 24
TOLERATED = 0.02
"""Standard deviations: GELU from a table of half precision is off by some thousandths."""

WITHIN_PERCENT = 2.0
CONTEXTS = (256, 1024, 2048, 4096)
COLUMNS = ("family", "laid out by", "largest difference", "walked", "codes", "importance", "pruned",
           "cache", "buffer", "ONNX")  # fmt: skip


def float_file(folder: Path, file: Path, found: dict[str, Any]) -> None:
    from edgecomp.exporters.gguf import export
    from edgecomp.models.reading import read_model

    model = read_model(folder)
    found["laid out by"] = {"known": "row", "learned": "converter"}.get(model.layout, "nobody")
    export(model, file, "F32")


def largest_difference(folder: Path, file: Path) -> str:
    """Of a logit, in standard deviations of the position's."""
    import numpy as np
    import torch

    from edgecomp.compress.whole_model import load_whole
    from edgecomp.recipes.run_settings import RunSettings
    from edgecomp.runtimes.llama_cpp.session import Session

    tokens = np.random.default_rng(0).integers(5, 500, POSITIONS)
    settings = RunSettings(
        context=256, micro_batch=64, outputs=64, threads=1, kv_type="F32", flash_attention=False
    )
    with Session(str(file), settings) as session:
        session.decode([(int(token), at, (0,), True) for at, token in enumerate(tokens)])
        ours = np.stack([session.logits(at).copy() for at in range(POSITIONS)])
    with torch.no_grad():
        model = load_whole(folder)
        theirs = model(input_ids=torch.from_numpy(tokens)[None], use_cache=False).logits[0].numpy()
    shares = np.abs(ours - theirs[:, : ours.shape[1]]).max(axis=1) / theirs.std(axis=1)
    worst = float(shares.max())
    return f"{worst:.1e}" if worst <= TOLERATED else f"{worst:.1e} (differs)"


def walked(folder: Path, file: Path) -> str:
    from edgecomp.checks.greedy_check import check_learned
    from edgecomp.runtimes.llama_cpp.client import LlamaCpp

    return "yes" if check_learned(folder, file, "F32", LlamaCpp()).walks else "no"


def codes(folder: Path, file: Path, scratch: Path) -> str:
    """How many of the block's matrices of whole K blocks hold GPTQ's codes afterwards."""
    import numpy as np
    import torch

    from edgecomp.compress.blocks import walk
    from edgecomp.compress.destination import Destination
    from edgecomp.compress.gguf_types import grids_of_types
    from edgecomp.compress.gptq import gptq_method
    from edgecomp.exporters.gguf import insert_codes
    from edgecomp.making.learned import types_of_weights
    from edgecomp.models.gguf.header import read_gguf_header
    from edgecomp.models.huggingface.model import gguf_names
    from edgecomp.models.learned_layout import learn_layout
    from edgecomp.models.reading import read_model
    from edgecomp.runtimes.llama_cpp.client import LlamaCpp
    from edgecomp.runtimes.llama_cpp.types_to_make import Types

    made = scratch / "made.gguf"
    LlamaCpp().quantize(file, made, Types(preset="Q4_K_M"), threads=1)
    header = read_gguf_header(made)
    wanted = {
        t.name: t.type.name
        for t in header.tensors
        if t.name.startswith("blk.") and len(t.shape) > 1 and t.type.name in ("Q4_K", "Q6_K")
    }
    types: dict[str, Any] = wanted
    layout = learn_layout(folder, file) if read_model(folder).layout == "learned" else None
    if layout:
        types = {
            name: kind
            for name, kind in types_of_weights(layout, wanted, gguf_names(folder)).items()
            if kind
        }
    tokens = torch.from_numpy(np.random.default_rng(0).integers(5, 500, (4, 64)))
    rounded = Destination(scratch / "rounded", "gptq", torch.float32)
    walk(folder, tokens, gptq_method(grids_of_types(folder, types)), destination=rounded)
    inserted = insert_codes(made, rounded.folder, layout)
    return f"{len(inserted)} of {len(wanted)}"


def importance(file: Path, scratch: Path) -> str:
    import numpy as np

    from edgecomp.runtimes.llama_cpp.client import LlamaCpp
    from edgecomp.runtimes.llama_cpp.types_to_make import Types

    np.save(scratch / "tokens.npy", np.random.default_rng(0).integers(5, 500, (2, 64)))
    matrix = scratch / "importance.gguf"
    LlamaCpp().importance(file, scratch / "tokens.npy", matrix, datasets=["random"], threads=1)
    types = Types(preset="IQ4_XS", importance=matrix)
    LlamaCpp().quantize(file, scratch / "weighed.gguf", types, threads=1)
    return "yes"


def pruned(folder: Path, scratch: Path) -> str:
    import numpy as np
    import torch

    from edgecomp.compress.blocks import walk
    from edgecomp.compress.destination import Destination
    from edgecomp.compress.magnitude import magnitude_method
    from edgecomp.exporters.gguf import export
    from edgecomp.models.reading import read_model
    from edgecomp.recipes.sparsity import parse_sparsity

    tokens = torch.from_numpy(np.random.default_rng(0).integers(5, 500, (1, 32)))
    made = Destination(scratch / "pruned", "magnitude 50%")
    walk(folder, tokens, magnitude_method(parse_sparsity("50%")), destination=made)
    export(read_model(made.folder), scratch / "pruned.gguf", "F32")
    return "yes"


def cache(file: Path) -> str:
    from edgecomp.models.reading import read_model
    from edgecomp.planning.cache_memory import kv_cache_bytes
    from edgecomp.recipes.run_settings import RunSettings
    from edgecomp.runtimes.llama_cpp.client import LlamaCpp

    worst = 0
    for context in CONTEXTS:
        settings = RunSettings(context=context, micro_batch=64, threads=1)
        reported = LlamaCpp().buffers(file, settings).get("kv", 0)
        worst = max(worst, abs(kv_cache_bytes(read_model(file), settings) - reported))
    # llama.cpp prints hundredths of a MiB, of caches and of states apart.
    return "exact" if worst <= 3 * 0.005 * 2**20 else f"off by {worst:,} B"


def compute_buffer(file: Path) -> str:
    """The largest deviation, of what llama.cpp reports."""
    from edgecomp.models.reading import read_model
    from edgecomp.planning.memory import compute_bytes
    from edgecomp.recipes.run_settings import RunSettings
    from edgecomp.runtimes.llama_cpp.client import LlamaCpp

    model, worst = read_model(file), 0.0
    for context in CONTEXTS:
        for flash_attention in (True, False):
            settings = RunSettings(context=context, threads=1, flash_attention=flash_attention)
            reported = LlamaCpp().buffers(file, settings, allocate=False)["compute"]
            worst = max(worst, compute_bytes(model, settings) / reported - 1, key=abs)
    return f"{worst:+.1%}"


def onnx(folder: Path, scratch: Path) -> str:
    from edgecomp.exporters.onnx import export
    from edgecomp.models.reading import read_model

    export(read_model(folder), scratch / "onnx", "F32")
    return "yes"


def examine(name: str) -> dict[str, str]:
    """One family's row; what cannot be done says why."""
    family = next(row for row in (*FAMILIES, *UNLIKE) if row.name == name)
    found: dict[str, str] = {"family": name}
    with tempfile.TemporaryDirectory() as scratch_name:
        scratch = Path(scratch_name)
        folder, file = scratch / name, scratch / "float.gguf"
        write_family(family, folder)
        steps: dict[str, Callable[[], str | None]] = {
            "laid out by": lambda: float_file(folder, file, found),
            "largest difference": lambda: largest_difference(folder, file),
            "walked": lambda: walked(folder, file),
            "codes": lambda: codes(folder, file, scratch),
            "importance": lambda: importance(file, scratch),
            "pruned": lambda: pruned(folder, scratch),
            "cache": lambda: cache(file),
            "buffer": lambda: compute_buffer(file),
            "ONNX": lambda: onnx(folder, scratch),
        }
        for column, step in steps.items():
            try:
                answer = step()
            except Exception as error:  # What a library says of a family is the finding.
                said = " ".join(f"{type(error).__name__}: {error}".split())
                answer = f"no: {said[:110]}"
            if answer:
                found[column] = answer
            print(json.dumps(found), flush=True)
    return found


def row_of(name: str) -> dict[str, str]:
    """`examine` in a process of its own, as far as it came."""
    done = subprocess.run(
        [sys.executable, __file__, "--one", name], capture_output=True, text=True, errors="replace"
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"family"')]
    found: dict[str, str] = json.loads(lines[-1]) if lines else {"family": name}
    if done.returncode:
        column = next((column for column in COLUMNS if column not in found), COLUMNS[-1])
        found[column] = f"no: its process ended with {done.returncode}"
    return found


def main() -> None:
    if sys.argv[1:2] == ["--one"]:
        examine(sys.argv[2])
        return
    names = sys.argv[1:] or [family.name for family in (*FAMILIES, *UNLIKE)]
    print(f"| {' | '.join(COLUMNS)} |\n|{' --- |' * len(COLUMNS)}", flush=True)
    totals: Counter[str] = Counter()
    for name in names:
        row = row_of(name)
        print(f"| {' | '.join(row.get(column, '') for column in COLUMNS)} |", flush=True)
        good = row.get("largest difference", "no")
        totals["a correct float GGUF"] += not good.startswith("no") and "differs" not in good
        totals["our codes"] += row.get("codes", "no")[:1] not in ("n", "0")
        totals["importance"] += row.get("importance") == "yes"
        totals["pruned"] += row.get("pruned") == "yes"
        totals["an exact cache"] += row.get("cache") == "exact"
        buffer = row.get("buffer", "no")
        within = not buffer.startswith("no") and abs(float(buffer.strip("%"))) <= WITHIN_PERCENT
        totals["a compute buffer within 2 %"] += within
        totals["ONNX"] += row.get("ONNX") == "yes"
    counted = ", ".join(f"{what} {count}" for what, count in totals.items())
    print(f"\nOf {len(names)} families: {counted}.")


if __name__ == "__main__":
    main()
