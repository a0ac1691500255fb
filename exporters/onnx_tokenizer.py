"""The tokenizer's file of an ONNX artifact: the source's own, without a limit left from training.

What was set for a call of training stays in tokenizer.json: `truncation` then cuts texts, `padding`
fills them up. transformers sets both anew for each call; whoever opens the file alone would not.
"""

from __future__ import annotations

import json
from pathlib import Path

from edgecomp.common.atomic import copy_file
from edgecomp.models.huggingface.weight_files import read_json

LEFT_OVER = ("truncation", "padding")


def copy_tokenizer(source: Path, destination: Path) -> str:
    """Copy a tokenizer.json byte for byte, or, where it cuts or fills up texts, what else it says.

    Returns a note on what was done. Raises FileCorrupt where `source` is no JSON, and OSError.
    """
    said = read_json(source)
    found = [name for name in LEFT_OVER if said.get(name) is not None]
    if not found:
        copy_file(source, destination)
        return "The tokenizer's file is the source's own."
    kept = said | dict.fromkeys(found)
    destination.write_text(json.dumps(kept, indent=2, ensure_ascii=False), encoding="utf-8")
    return f"The tokenizer's file is the source's own, but for its {' and '.join(found)}."
