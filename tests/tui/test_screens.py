"""Each screen's main path, and what each says to bad input."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from filelock import FileLock
from textual.app import App
from textual.pilot import Pilot
from textual.widgets import DataTable, Input, TextArea

from edgecomp.devices.finding import find_device
from edgecomp.devices.profile import own_profiles_folder, profile_paths
from edgecomp.jobs.background import FitRequest, run_folder
from edgecomp.jobs.kept_figures import report_run
from edgecomp.reporting.report import Report
from edgecomp.results.store import add_run, store_path
from edgecomp.tui.app import EdgecompApp
from edgecomp.tui.candidate_table import CandidateTable
from edgecomp.tui.device_screen import DeviceScreen
from edgecomp.tui.help_screen import HelpScreen
from edgecomp.tui.notice import Notice
from edgecomp.tui.recent import read_recent, remember_run
from edgecomp.tui.recipe_screen import RecipeScreen
from edgecomp.tui.too_small_screen import TooSmallScreen

Settle = Callable[[Pilot[None]], Awaitable[None]]
Path_ = Callable[[Pilot[None]], Awaitable[None]]


def drive(app: EdgecompApp, path: Path_, size: tuple[int, int] = (80, 24)) -> None:
    """Run the app without a terminal and walk a path through it."""

    async def walk() -> None:
        async with app.run_test(size=size) as pilot:
            await path(pilot)

    asyncio.run(walk())


def said(app: EdgecompApp) -> str:
    """What the notices of the screen say."""
    return " ".join(str(row.render()) for row in app.screen.query(Notice) if row.display)


def seen(app: EdgecompApp, place: str) -> str:
    """The text of a widget as it is drawn."""
    widget = app.screen.query_one(place)
    return "\n".join(line.text for line in widget.render_lines(widget.size.region))


def test_enter_on_the_first_screen_reads_the_highlighted_model(
    here: Path, model_file: Path, settle: Settle
) -> None:
    app = EdgecompApp()

    async def path(pilot: Pilot[None]) -> None:
        await settle(pilot)
        await pilot.press("slash", *model_file.name, "enter")
        await settle(pilot)
        assert app.session.model is not None
        assert "embedding" in seen(app, "#model-bytes")

    drive(app, path)
    assert read_recent().models == (model_file.name,)


@pytest.mark.parametrize(
    ("name", "words"),
    [("nothing.gguf", "no model"), ("notes.gguf", "notes.gguf"), ("empty", "not a complete")],
)
def test_a_picked_file_that_is_no_model_is_explained_and_the_old_one_stays(
    app: EdgecompApp, here: Path, settle: Settle, name: str, words: str
) -> None:
    (here / "notes.gguf").write_text("this is no model")
    (here / "empty").mkdir()

    async def path(pilot: Pilot[None]) -> None:
        await settle(pilot)
        before = app.session.model
        await pilot.press("slash", *name, "enter")
        await settle(pilot)
        assert words in said(app)
        assert app.session.model is before

    drive(app, path)


def test_a_device_is_picked_and_two_stand_beside_each_other(
    app: EdgecompApp, settle: Settle
) -> None:
    async def path(pilot: Pilot[None]) -> None:
        await pilot.press("2")
        await settle(pilot)
        await pilot.press("c", "down")
        await settle(pilot)
        screen = app.screen
        assert isinstance(screen, DeviceScreen)
        assert screen.kept and screen.shown and screen.kept != screen.shown
        assert screen.kept.title in seen(app, "#device-kept")
        await pilot.press("enter")
        assert app.session.device == screen.shown

    drive(app, path, (200, 60))


def test_a_profile_that_vanished_is_explained(app: EdgecompApp, here: Path, settle: Settle) -> None:
    own = own_profiles_folder() / "mine.toml"
    own.parent.mkdir(parents=True)
    source = profile_paths()["raspberry-pi-5-8gb"].read_text()
    own.write_text(source.replace("raspberry-pi-5-8gb", "mine"))

    async def path(pilot: Pilot[None]) -> None:
        await pilot.press("2")
        await settle(pilot)
        own.unlink()
        screen = app.screen
        assert isinstance(screen, DeviceScreen)
        screen.load("mine")
        await settle(pilot)
        assert "no device profile 'mine'" in said(app)

    drive(app, path)


def test_the_plan_follows_what_is_typed_and_keeps_the_reason_in_view(
    app: EdgecompApp, settle: Settle
) -> None:
    async def path(pilot: Pilot[None]) -> None:
        await pilot.press("3")
        await settle(pilot)
        table = app.screen.query_one(CandidateTable)
        assert app.session.plan and table.row_count == len(app.session.plan.candidates)
        assert "best for the task" in seen(app, "#reason-text")
        await pilot.press("slash", *"1024")
        await settle(pilot)
        assert app.session.plan.constraints.context == 1024
        assert {row.context for row in table.rows_shown} == {1024}
        await pilot.press("escape")
        table.move_cursor(row=table.row_count - 1)
        await settle(pilot)
        out = table.highlighted
        assert out and out.rejections
        assert out.rejections[0].text[:20] in seen(app, "#reason-text").replace("\n", " ")

    drive(app, path, (200, 60))


def test_the_reason_shows_how_full_each_memory_of_the_device_gets(
    app: EdgecompApp, settle: Settle
) -> None:
    app.session.device, app.session.device_name = find_device("rtx-4090"), "rtx-4090"

    async def path(pilot: Pilot[None]) -> None:
        await pilot.press("3")
        await settle(pilot)
        text = seen(app, "#reason-text")
        assert app.session.device
        for pool in app.session.device.pools:
            assert f"{pool.name} " in text
        assert "of 2" in text and "usable" in text

    drive(app, path, (200, 60))


def test_a_limit_that_cannot_be_read_is_explained_and_the_table_stays(
    app: EdgecompApp, settle: Settle
) -> None:
    async def path(pilot: Pilot[None]) -> None:
        await pilot.press("3")
        await settle(pilot)
        rows = app.screen.query_one(CandidateTable).row_count
        app.screen.query_one("#max_memory", Input).value = "6 pounds"
        await settle(pilot)
        assert "no quantity that can be read" in said(app)
        assert app.screen.query_one(CandidateTable).row_count == rows
        app.screen.query_one("#max_memory", Input).value = "1MB"
        await settle(pilot)
        assert "Nothing fits. --max-memory 1 MB is too small" in said(app)

    drive(app, path)


def test_the_table_sorts_by_any_column_and_back(app: EdgecompApp, settle: Settle) -> None:
    async def path(pilot: Pilot[None]) -> None:
        await pilot.press("3")
        await settle(pilot)
        table = app.screen.query_one(CandidateTable)
        ranked = list(table.rows_shown)
        table.sort_by("size")
        sizes = [row.file_bytes for row in table.rows_shown]
        assert sizes == sorted(sizes)
        await pilot.press("S")
        assert [row.file_bytes for row in table.rows_shown] == sorted(sizes, reverse=True)
        table.sort_by(None)
        assert table.rows_shown == ranked

    drive(app, path)


async def made_recipe(app: EdgecompApp, pilot: Pilot[None], settle: Settle) -> TextArea:
    """The editor, with the recipe of the best candidate in it."""
    await pilot.press("3")
    await settle(pilot)
    await pilot.press("enter")
    await settle(pilot)
    assert isinstance(app.screen, RecipeScreen)
    return app.screen.query_one("#recipe-text", TextArea)


def test_a_candidate_becomes_a_recipe_that_is_checked_as_one_types(
    app: EdgecompApp, here: Path, settle: Settle
) -> None:
    async def path(pilot: Pilot[None]) -> None:
        area = await made_recipe(app, pilot, settle)
        lines = area.text.splitlines()
        wrong = next(n for n, line in enumerate(lines) if line.startswith("importance"))
        lines[wrong] = "importance: perhaps"
        good = area.text
        area.load_text("\n".join(lines))
        await settle(pilot)
        assert f"line {wrong + 1}" in said(app)
        await pilot.press("ctrl+g")
        assert area.cursor_location[0] == wrong
        area.load_text(good)
        await settle(pilot)
        assert said(app) == ""
        await pilot.press("ctrl+s", *"mine.yaml", "enter")
        await settle(pilot)
        assert (here / "mine.yaml").read_text() == good

    drive(app, path)


@pytest.mark.parametrize("text", ["windows: 7", "windows: many"])
def test_what_starts_is_the_text_as_it_stands_however_fast_the_keys(
    app: EdgecompApp, settle: Settle, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    started: list[int] = []
    monkeypatch.setattr(app, "start_run", lambda recipe: started.append(recipe.evaluation.windows))

    async def path(pilot: Pilot[None]) -> None:
        area = await made_recipe(app, pilot, settle)
        area.load_text(area.text.replace("windows: 16", text))
        await pilot.press("ctrl+r")
        await settle(pilot)
        assert started == ([7] if text == "windows: 7" else [])

    drive(app, path)


def test_r35_generic_calibration_of_a_code_model_is_refused_in_the_editor(
    app: EdgecompApp, settle: Settle
) -> None:
    async def path(pilot: Pilot[None]) -> None:
        area = await made_recipe(app, pilot, settle)
        text = area.text.replace("task: general", "task: code")
        area.load_text(text.replace("    instructions: 48\n", "").replace("    math: 40\n", ""))
        await settle(pilot)
        assert "no sample that matches the task code" in said(app)

    drive(app, path)


def test_a_stopped_run_is_offered_at_the_next_start_and_shows_its_stages(
    app: EdgecompApp, stopped_run: FitRequest, settle: Settle
) -> None:
    remember_run(stopped_run)

    async def path(pilot: Pilot[None]) -> None:
        await settle(pilot)
        assert app.session.request == stopped_run
        await pilot.press("5")
        await settle(pilot)
        assert "was stopped" in said(app)
        assert "stopped" in seen(app, "#run-table")

    drive(app, path)


def test_a_run_of_another_app_is_read_only_and_says_so(
    app: EdgecompApp, stopped_run: FitRequest, settle: Settle
) -> None:
    folder = run_folder(stopped_run)
    (folder / "owner").write_text("4321")
    app.session.request = stopped_run

    async def path(pilot: Pilot[None]) -> None:
        await pilot.press("5")
        await settle(pilot)
        assert "Read-only: another edgecomp (process 4321)" in said(app)
        await pilot.press("x", "r")
        await settle(pilot)
        assert app.session.run is None

    with FileLock(folder / ".lock"):
        drive(app, path)


def test_a_run_that_fails_shows_why_and_the_app_lives_on(
    app: EdgecompApp, request_made: FitRequest, settle: Settle
) -> None:
    lost = request_made.recipe.model_copy(update={"model": "gone.gguf"})

    async def path(pilot: Pilot[None]) -> None:
        app.start_run(lost)
        for _ in range(600):
            await pilot.pause(0.1)
            if "no model at gone.gguf" in said(app):
                break
        assert "no model at gone.gguf" in said(app)
        await pilot.press("1")
        assert app.current_mode == "model"

    drive(app, path)


def test_results_show_three_dimensions_and_the_verdict(
    app: EdgecompApp, bundles: list[Path], settle: Settle
) -> None:
    app.session.folder = bundles[0]

    async def path(pilot: Pilot[None]) -> None:
        await pilot.press("6")
        await settle(pilot)
        text = seen(app, "#results-text")
        for words in ("DO NOT SHIP", "Next:", "Performance", "Reliability", "Efficiency",
                      "Predicted against measured"):  # fmt: skip
            assert words in text

    drive(app, path, (200, 60))


def test_compare_lists_every_bundle_and_leaves_out_what_is_toggled(
    app: EdgecompApp, bundles: list[Path], settle: Settle
) -> None:
    async def path(pilot: Pilot[None]) -> None:
        await pilot.press("7")
        await settle(pilot)
        table = app.screen.query_one("#compare-table", DataTable)
        assert table.row_count == len(bundles)
        await pilot.press("space")
        assert str(table.get_cell_at((0, 0))) == "□"
        await pilot.press("enter")
        await settle(pilot)
        assert app.current_mode == "results" and app.session.folder in bundles

    drive(app, path)


def test_compare_adds_a_kept_run_whose_bundle_is_still_there(
    app: EdgecompApp, bundles: list[Path], tmp_path: Path, settle: Settle
) -> None:
    elsewhere = Path(shutil.move(bundles[2], tmp_path / "elsewhere"))
    report = Report.model_validate_json((elsewhere / "report.json").read_text())
    add_run(report_run(report, elsewhere, "fit"), store_path())
    add_run(report_run(report, tmp_path / "gone", "fleet"), store_path())

    async def path(pilot: Pilot[None]) -> None:
        await pilot.press("7")
        await settle(pilot)
        assert app.screen.query_one("#compare-table", DataTable).row_count == 2
        await pilot.press("k")
        await settle(pilot)
        assert "1 of 2 kept runs" in seen(app, "#kept-runs-said")
        assert app.screen.query_one("#kept-runs-table", DataTable).row_count == 1
        await pilot.press("enter")
        await settle(pilot)
        assert app.screen.query_one("#compare-table", DataTable).row_count == 3

    drive(app, path)


def test_r100_a_bundle_that_rests_on_one_category_is_left_out_and_named(
    app: EdgecompApp, bundles: list[Path], settle: Settle
) -> None:
    path_ = bundles[0] / "report.json"
    report = Report.model_validate_json(path_.read_text())
    narrow = report.comparison.model_copy(update={"categories": report.comparison.categories[:1]})
    path_.write_text(report.model_copy(update={"comparison": narrow}).model_dump_json())

    async def path(pilot: Pilot[None]) -> None:
        await pilot.press("7")
        await settle(pilot)
        assert f"{bundles[0].name}: There is nothing to compare but perplexity" in said(app)
        assert app.screen.query_one("#compare-table", DataTable).row_count == len(bundles) - 1

    drive(app, path)


def test_a_flipped_byte_is_found_and_named(
    app: EdgecompApp, bundles: list[Path], settle: Settle
) -> None:
    (bundles[0] / "report.json").unlink()
    artifact = next(bundles[0].glob("*.gguf"))
    artifact.write_bytes(b"GGUE")
    app.session.folder = bundles[0]

    async def path(pilot: Pilot[None]) -> None:
        await pilot.press("8")
        await settle(pilot)
        await pilot.press("v")
        await settle(pilot)
        assert f"{artifact.name} was changed" in said(app)

    drive(app, path)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("3", "No model is chosen"),
        ("4", "No recipe yet"),
        ("5", "No run yet"),
        ("6", "No results yet"),
        ("7", "No bundles yet"),
        ("8", "No bundle yet"),
    ],
)
def test_an_empty_screen_says_what_to_do(here: Path, settle: Settle, key: str, words: str) -> None:
    app = EdgecompApp()

    async def path(pilot: Pilot[None]) -> None:
        await pilot.press(key)
        await settle(pilot)
        assert words in said(app)

    drive(app, path)


def test_a_terminal_that_is_too_small_says_the_size_needed_until_it_grows(
    app: EdgecompApp, settle: Settle
) -> None:
    async def path(pilot: Pilot[None]) -> None:
        await pilot.pause()
        assert isinstance(app.screen, TooSmallScreen)
        assert "80 x 24" in seen(app, "#too-small")
        await pilot.resize_terminal(80, 24)
        await settle(pilot)
        assert not isinstance(app.screen, TooSmallScreen)

    drive(app, path, (60, 20))


def test_the_help_lists_the_keys_of_the_screen_below_it(app: EdgecompApp, settle: Settle) -> None:
    async def path(pilot: Pilot[None]) -> None:
        await pilot.press("3")
        await settle(pilot)
        await pilot.press("question_mark")
        assert isinstance(app.screen, HelpScreen)
        await pilot.press("escape")
        assert not isinstance(app.screen, HelpScreen)

    drive(app, path)


def test_no_screen_imports_torch_or_scipy(here: Path) -> None:
    script = (
        "import asyncio, sys\n"
        "import edgecomp.tui.model_screen\n"
        "from edgecomp.tui.app import EdgecompApp\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
        "async def walk():\n"
        "    async with EdgecompApp().run_test(size=(80, 24)) as pilot:\n"
        "        for key in '2345678':\n"
        "            await pilot.press(key)\n"
        "            await pilot.pause(0.3)\n"
        "asyncio.run(walk())\n"
        "assert not {'torch', 'transformers', 'scipy'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env={**os.environ}
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("change", ["theme", "size"])
@pytest.mark.parametrize(
    ("keys", "back"),
    [
        pytest.param(("3", "6"), "3", id="a screen away"),
        pytest.param(("3", "6"), "4", id="a screen never seen"),
        pytest.param(("3", "1"), "3", id="from the first screen"),
        pytest.param(("3", "question_mark"), "escape", id="under the help"),
    ],
)
def test_a_screen_comes_to_the_front_in_the_theme_and_size_of_now(
    app: EdgecompApp, settle: Settle, change: str, keys: tuple[str, ...], back: str
) -> None:
    async def path(pilot: Pilot[None]) -> None:
        for key in keys:
            await pilot.press(key)
            await settle(pilot)
        if change == "theme":
            app.theme = "textual-light"
        else:
            await pilot.resize_terminal(200, 60)
        await settle(pilot)
        await pilot.press(back)
        await settle(pilot)
        came_back = app.export_screenshot()
        App.refresh_css(app, animate=False)
        app.refresh(layout=True)
        await settle(pilot)
        same = app.export_screenshot() == came_back
        assert same  # Without pytest's comparison of two long texts.

    drive(app, path)


def test_the_lines_of_screens_and_of_keys_answer_the_mouse(
    app: EdgecompApp, settle: Settle
) -> None:
    async def path(pilot: Pilot[None]) -> None:
        places = seen(app, "Navigation")
        await pilot.click("Navigation", offset=(places.index("Plan"), 0))
        await settle(pilot)
        assert app.current_mode == "plan"
        await pilot.click("KeyLine", offset=(seen(app, "KeyLine").index("Limits"), 0))
        await settle(pilot)
        assert isinstance(app.focused, Input)
        keys = seen(app, "KeyLine")
        assert "Make this" not in keys and keys.endswith("palette")

    drive(app, path)
