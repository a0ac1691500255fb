"""Which decoder layers attend to a sliding window only, as config.json says.

Rules of transformers' configurations: `layer_types` names every layer's kind; where it is missing,
`sliding_window_pattern` = n makes each n-th layer attend to everything.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgecomp.common.errors import FileCorrupt
from edgecomp.models.architectures import Architecture
from edgecomp.models.huggingface.config_entries import ADVICE

FULL, SLIDING = "full_attention", "sliding_attention"


def sliding_layers(
    config: dict[str, Any], architecture: Architecture, layers: int, path: Path
) -> tuple[bool, ...]:
    """One entry a layer: True where it attends to the window only; empty where none does.

    `config` is the language model's part of the file at `path`. Raises FileCorrupt where
    `layer_types` does not name one known kind for each layer.
    """
    if not architecture.full_attention_every or not config.get("sliding_window"):
        return ()
    kinds = config.get("layer_types")
    if kinds:
        if len(kinds) != layers:
            fault = f"its layer_types names {len(kinds)} layers, and there are {layers}."
            raise FileCorrupt(path, fault, ADVICE)
        unknown = [kind for kind in kinds if kind not in (FULL, SLIDING)]
        if unknown:
            raise FileCorrupt(path, f"its layer_types holds {unknown[0]!r}.", ADVICE)
        slides = tuple(kind == SLIDING for kind in kinds)
        return slides if any(slides) else ()
    pattern = config.get("sliding_window_pattern") or config.get("_sliding_window_pattern")
    every = int(pattern or architecture.full_attention_every)
    return tuple((layer + 1) % every != 0 for layer in range(layers))
