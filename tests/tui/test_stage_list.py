"""The stages of a run from its events."""

from __future__ import annotations

import pytest

from edgecomp.common.events import Estimated, StageFinished, StageProgress, StageStarted, Warned
from edgecomp.tui.stage_list import StageList


def test_the_time_left_follows_the_stage_s_own_pace() -> None:
    stages = StageList()
    stages.take(StageStarted(stage="a", title="A"), now=100.0)
    stages.take(StageProgress(stage="a", done=25, total=100), now=110.0)
    assert stages.current is not None
    assert stages.current.left_seconds(now=110.0) == pytest.approx(30.0)


def test_a_stage_taken_from_the_cache_says_so() -> None:
    stages = StageList()
    stages.take(StageStarted(stage="a", title="A"))
    assert stages.take(StageFinished(stage="a", cached=True, seconds=0.1)) == (
        "A: done, from the cache"
    )
    assert stages.current is None


def test_a_warning_is_logged_once() -> None:
    stages = StageList()
    assert stages.take(Warned(text="hot")) == "Warning: hot"
    assert stages.take(Warned(text="hot")) is None


def test_the_whole_jobs_time_is_what_the_run_itself_said() -> None:
    stages = StageList()
    assert stages.expected_seconds is None
    assert stages.take(Estimated(text="The job takes about 9 min.", seconds=540)) == (
        "The job takes about 9 min."
    )
    assert stages.expected_seconds == 540
