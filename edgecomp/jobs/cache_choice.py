"""What each type of the KV cache loses, measured before a run settles on one."""

from __future__ import annotations

from pathlib import Path

from edgecomp.common.digests import text_digest
from edgecomp.common.events import Progress
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.evaluate.divergence import summarise
from edgecomp.formats.cache_types import CACHE_CHOICES, suits_heads
from edgecomp.making.float_model import float_export
from edgecomp.pipeline.run import Run
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.protocol import Windows

WINDOWS, WINDOW_TOKENS = 2, 2048
"""Windows of the divergence text that are read, and their tokens at most: a context's own."""

OUTPUTS = 32


class CacheLosses(FrozenModel):
    """Divergence of the model from itself, in nats a token, by the type of its KV cache."""

    losses: dict[str, float]


def measured_cache_losses(run: Run, text: str) -> dict[str, float]:
    """What the caches that `auto` chooses from lose of the run's model, each with the float file's
    weights, at its context. Empty where the text is shorter than that."""
    base, context = float_export(run), run.recipe.settings.context
    tokens = min(context, WINDOW_TOKENS)
    kinds = [kind for kind in CACHE_CHOICES[1:] if suits_heads(run.model, kind)]

    def work(folder: Path, progress: Progress) -> CacheLosses:
        losses = {CACHE_CHOICES[0]: 0.0}
        for index, kind in enumerate(kinds):
            progress(index, len(kinds))
            settings = RunSettings(
                context=tokens, outputs=OUTPUTS, threads=run.threads, kv_type=kind
            )
            samples = run.runtime.compare(
                base.path,
                base.path,
                settings,
                text,
                windows=Windows(tokens=tokens, number=WINDOWS),
            )
            if not samples.kl:
                return CacheLosses(losses={})
            losses[kind] = summarise(samples).kl_or_infinity
        return CacheLosses(losses=losses)

    inputs = {
        "base": base.sha256,
        "text": text_digest(text),
        "windows": [tokens, WINDOWS],
        "types": kinds,
    }
    title = "Measuring what each type of KV cache loses"
    return run.stage("cache-losses", title, CacheLosses, inputs, work).losses
