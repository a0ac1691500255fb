"""Results are kept whole by several processes at once, and nothing that ails a store ends a run."""

from __future__ import annotations

import datetime
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from stored_runs import a_run

from edgecomp.common.errors import ResultsNewer, ResultsUnusable
from edgecomp.common.events import Event, Warned
from edgecomp.results import store
from edgecomp.results.query import ResultsFilter, read_results
from edgecomp.results.store import SCHEMA_VERSION, add_run, keep_result, read_rows
from edgecomp.results.stored_run import Figure, StoredRun

PROCESSES, RUNS_EACH = 3, 20


def kept(path: Path) -> tuple[StoredRun, ...]:
    return read_results(ResultsFilter(), path).runs


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kept" / "results.sqlite"


def test_a_run_comes_back_as_it_was_kept(path: Path) -> None:
    add_run(a_run(), path)
    assert kept(path) == (a_run(),)


def test_there_is_nothing_before_the_first_run(path: Path) -> None:
    assert kept(path) == () and not path.exists()


def test_figures_out_of_the_cache_are_one_run_where_the_artifact_is_now(path: Path) -> None:
    add_run(a_run(), path)
    later = datetime.datetime(2026, 11, 29, tzinfo=datetime.UTC)
    again = a_run(artifact="/bundles/b", at=later)
    add_run(again, path)
    assert kept(path) == (again,)
    add_run(a_run(size_bytes=1001), path)
    assert len(kept(path)) == 2


def test_a_figure_that_is_no_number_is_kept_as_none(path: Path) -> None:
    figure = Figure(quantity="divergence", unit="nats", device="here", measured=float("nan"))
    add_run(a_run(figures=(figure,)), path)
    assert kept(path)[0].figures[0].measured is None


WRITER = """
    import sys
    from pathlib import Path
    sys.path.insert(0, {tests!r})
    from stored_runs import a_run
    from edgecomp.results.store import add_run
    sys.stdin.readline()
    for number in range({runs}):
        add_run(a_run(f"{{sys.argv[1]}}-{{number}}"), Path({path!r}))
"""


def test_several_processes_lose_nothing(path: Path) -> None:
    tests = str(Path(__file__).parent.parent)
    code = textwrap.dedent(WRITER).format(tests=tests, runs=RUNS_EACH, path=str(path))
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(i)], stdin=subprocess.PIPE, text=True)
        for i in range(PROCESSES)
    ]
    # All at once, on a store that none of them has made yet.
    for writer in writers:
        assert writer.stdin
        writer.stdin.write("go\n")
        writer.stdin.close()
    assert [writer.wait() for writer in writers] == [0] * PROCESSES
    found = kept(path)
    assert len({run.model for run in found}) == PROCESSES * RUNS_EACH
    assert all(len(run.figures) == 2 for run in found)


def test_a_store_of_a_newer_version_is_refused_and_untouched(path: Path) -> None:
    add_run(a_run(), path)
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
        database.commit()
    before = {file: file.read_bytes() for file in path.parent.iterdir()}
    with pytest.raises(ResultsNewer, match="Nothing was changed"):
        add_run(a_run("Other"), path)
    with pytest.raises(ResultsNewer):
        kept(path)
    assert {file: file.read_bytes() for file in path.parent.iterdir()} == before


@pytest.mark.parametrize("content", [b"no database at all" * 10, None])
def test_what_is_no_store_is_refused_and_untouched(path: Path, content: bytes | None) -> None:
    path.parent.mkdir()
    if content:
        path.write_bytes(content)
    else:
        with closing(sqlite3.connect(path)) as database:
            database.execute("CREATE TABLE bookmarks (address TEXT)")
    before = path.read_bytes()
    with pytest.raises(ResultsUnusable):
        add_run(a_run(), path)
    assert path.read_bytes() == before


def test_what_a_killed_process_left_of_a_new_store_is_taken_up(path: Path) -> None:
    code = f"""
        import os
        from pathlib import Path
        from edgecomp.results import store
        path = Path({str(path)!r})
        path.parent.mkdir()
        database = store._connect(path)
        database.execute("PRAGMA journal_mode = WAL")
        with store._transaction(database):
            for statement in store._statements():
                database.execute(statement)
        os._exit(0)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)
    assert kept(path) == ()
    add_run(a_run(), path)
    assert kept(path) == (a_run(),)


def heard(work: Callable[[Callable[[Event], None]], None]) -> list[str]:
    events: list[Event] = []
    work(events.append)
    return [event.text for event in events if isinstance(event, Warned)]


@pytest.fixture
def own_store(path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGECOMP_RESULTS", str(path.parent))
    return path


def test_a_locked_store_costs_a_run_its_row_and_says_so(
    own_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_run(a_run(), own_store)
    monkeypatch.setattr(store, "BUSY_SECONDS", 0.05)
    with closing(sqlite3.connect(own_store, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        (text,) = heard(lambda listen: keep_result(a_run("Other"), listen))
    assert "locked" in text and str(own_store) in text
    assert kept(own_store) == (a_run(),)


def test_a_folder_that_cannot_be_made_costs_a_run_its_row_and_says_so(own_store: Path) -> None:
    own_store.parent.write_text("a file in its place")
    (text,) = heard(lambda listen: keep_result(a_run(), listen))
    assert "EDGECOMP_RESULTS" in text


def test_a_full_disk_costs_a_run_its_row_and_says_so(own_store: Path) -> None:
    add_run(a_run(), own_store)
    code = f"""
        import resource, sys
        sys.path.insert(0, {str(Path(__file__).parent.parent)!r})
        from stored_runs import a_run
        from edgecomp.results.store import keep_result
        size = 4096
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        keep_result(a_run("Other"), lambda event: print(event.text))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    assert "were not kept" in done.stdout and done.stdout.count("\n") == 1
    assert kept(own_store) == (a_run(),)


def test_the_view_answers_what_people_ask_in_sql(path: Path) -> None:
    add_run(a_run(), path)
    add_run(a_run("Large", format="Q8_0", bits_per_weight=8.5), path)
    query = (
        "SELECT figure_device, format, avg(predicted / measured) AS ratio FROM results "
        "WHERE quantity = 'decode' GROUP BY figure_device, format ORDER BY format"
    )
    rows = [tuple(row) for row in read_rows(path, query)]
    assert rows == [("a processor", "Q4_0", 0.9), ("a processor", "Q8_0", 0.9)]
    least = "SELECT model FROM results WHERE quantity = 'divergence' AND bits_per_weight < 5"
    assert [tuple(row) for row in read_rows(path, least)] == [("Tiny",)]
