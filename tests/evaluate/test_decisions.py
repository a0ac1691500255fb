"""Lost, kept or not decided, over all capabilities together."""

from __future__ import annotations

import math

import numpy as np

from edgecomp.evaluate.decisions import Drops, decidable_margin, decide

NAMES = tuple("abcdefghij")


def drawn(mean: float, flips: float, count: int, seed: int) -> tuple[float, ...]:
    shares = [(flips + mean) / 2, 1 - flips, (flips - mean) / 2]
    return tuple(np.random.default_rng(seed).choice([1.0, 0.0, -1.0], p=shares, size=count))


def test_a_great_loss_is_lost_a_repetition_is_kept_and_a_few_answers_decide_nothing() -> None:
    found = decide(
        {
            "lost": Drops((1.0,) * 20, 400, 0.05),
            "kept": Drops((0.0,) * 150, 400, 0.05),
            "open": Drops((0.0,) * 10, 400, 0.05),
        }
    )
    assert found == {"lost": "lost", "kept": "kept", "open": "not decided"}


def test_the_tolerance_is_each_ones_own() -> None:
    drops = drawn(0.08, 0.10, 400, 1)
    found = decide({"strict": Drops(drops, 400, 0.02), "loose": Drops(drops, 400, 0.2)})
    assert found == {"strict": "lost", "loose": "kept"}


def test_more_capabilities_need_more_evidence() -> None:
    drops = Drops((0.0,) * 85, 400, 0.05)
    assert decide({"alone": drops}) == {"alone": "kept"}
    nothing = Drops((), 400, 0.05)
    crowd = decide({"alone": drops, **dict.fromkeys(NAMES, nothing)})
    assert crowd["alone"] == "not decided"


def test_what_the_others_decided_no_longer_counts_against_the_last() -> None:
    """Holm: nine that are kept without doubt leave the tenth all of the error."""
    others = dict.fromkeys(NAMES[:9], Drops((0.0,) * 300, 400, 0.05))
    assert decide({**others, "last": Drops((0.0,) * 85, 400, 0.05)})["last"] == "kept"


def test_ten_kept_capabilities_raise_a_false_alarm_in_one_run_of_twenty_at_most() -> None:
    """Looked at after every round, as asking does."""
    runs, alarms = 150, 0
    for seed in range(runs):
        drops = {name: drawn(0.04, 0.12, 320, 100 * seed + at) for at, name in enumerate(NAMES)}
        alarms += any(
            "lost" in decide({name: Drops(d[:n], None, 0.05) for name, d in drops.items()}).values()
            for n in (32, 64, 128, 192, 256, 320)
        )
    assert alarms <= 7.5 + 3 * math.sqrt(150 * 0.05 * 0.95)


def test_more_questions_decide_smaller_losses_and_a_handful_none() -> None:
    margins = [decidable_margin(count, 2000, 8) for count in (60, 200, 1000)]
    assert all(margin is not None for margin in margins)
    assert margins == sorted(margins, key=lambda margin: -(margin or 0))
    assert 0.1 < (margins[0] or 0) < 0.2 and (margins[1] or 1) < 0.08
    assert decidable_margin(200, 400, 1) < decidable_margin(200, 400, 8)  # type: ignore[operator]
    assert decidable_margin(1, 400, 8) is None
