"""What the app remembers between two starts."""

from __future__ import annotations

from pathlib import Path

from edgecomp.jobs.background import FitRequest
from edgecomp.tui.recent import (
    MOST,
    read_recent,
    recent_path,
    remember_bundle,
    remember_model,
    remember_run,
)


def test_the_newest_model_comes_first_and_none_twice(here: Path) -> None:
    for name in ("a", "b", "a", *(f"m{index}" for index in range(MOST - 1))):
        remember_model(name)
    models = read_recent().models
    assert models[0] == f"m{MOST - 2}" and models[-1] == "a" and len(models) == MOST


def test_a_run_is_remembered_until_it_is_finished(request_made: FitRequest) -> None:
    remember_run(request_made)
    remember_bundle(request_made.output)
    assert read_recent().unfinished == request_made
    remember_run(None)
    assert read_recent().unfinished is None
    assert read_recent().bundles == (request_made.output,)


def test_a_damaged_file_is_as_good_as_none(here: Path) -> None:
    remember_model("a")
    recent_path().write_text("{")
    assert read_recent().models == ()


def test_a_settings_folder_that_cannot_be_written_stops_nothing(here: Path) -> None:
    recent_path().parent.parent.mkdir(exist_ok=True)
    recent_path().parent.write_text("a file where the folder should be")
    remember_model("a")
    assert read_recent().models == ()
