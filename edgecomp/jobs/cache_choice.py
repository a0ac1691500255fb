"""What each type of the KV cache loses, measured before a run settles on one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgecomp.common.digests import text_digest
from edgecomp.common.events import Progress
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.formats.cache_types import CACHE_CHOICES, suits_heads
from edgecomp.jobs.evaluation_stages import ModelUnderTest, compare_predictions
from edgecomp.making.float_model import float_export
from edgecomp.pipeline.run import Run

WINDOWS, WINDOW_TOKENS = 2, 2048
"""Windows of the divergence text that are read, and their tokens at most: a context's own."""


class CacheLosses(FrozenModel):
    """Divergence of the model from itself, in nats a token, by the type of its KV cache."""

    losses: dict[str, float]


def measured_cache_losses(run: Run, text: str) -> dict[str, float]:
    """What the caches that `auto` chooses from lose of the run's model, each with the float file's
    weights, at its context. Empty where the text is shorter than that."""
    base, context = float_export(run), run.recipe.settings.context
    tokens = min(context, WINDOW_TOKENS)
    exact = ModelUnderTest(
        "base", base.path, base.sha256, run.runtime, run.template, run.threads, run.listen,
        run.model.name,
    )  # fmt: skip
    kinds = [kind for kind in CACHE_CHOICES[1:] if suits_heads(run.model, kind)]

    def work(folder: Path, progress: Progress) -> CacheLosses:
        losses = {CACHE_CHOICES[0]: 0.0}
        for index, kind in enumerate(kinds):
            progress(index, len(kinds))
            coarse = replace(exact, who="artifact", kv_type=kind)
            found = compare_predictions(exact, coarse, text, tokens, WINDOWS)
            if found is None:
                return CacheLosses(losses={})
            losses[kind] = found.kl_or_infinity
        return CacheLosses(losses=losses)

    inputs = {
        "base": base.sha256,
        "text": text_digest(text),
        "windows": [tokens, WINDOWS],
        "types": kinds,
    }
    title = "Measuring what each type of KV cache loses"
    return run.stage("cache-losses", title, CacheLosses, inputs, work).losses
