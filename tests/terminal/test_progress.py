"""Progress as a user reads it where stderr is no terminal."""

from __future__ import annotations

import pytest

from edgecomp.common.events import StageFinished, StageStarted, Warned
from edgecomp.terminal.progress import progress_bars


def test_brackets_in_a_warning_and_a_title_are_shown_as_they_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with progress_bars() as listen:
        listen(Warned(text="models/[v2] lacks [/end]"))
        listen(StageStarted(stage="a", title="Reading [x]"))
        listen(StageFinished(stage="a", cached=True, seconds=0.0))
    said = capsys.readouterr().err
    assert "models/[v2] lacks [/end]" in said and "Reading [x]: done" in said
