"""The store of results: a SQLite file that every run adds to and that any tool can read.

Two tables, `runs` and `figures` (the fields of StoredRun and Figure), and the view `results`, which
has a row a figure with its run's columns. Writers of several processes wait for one another
(write-ahead log, busy timeout); a store that is locked, full or damaged costs a run its row and
nothing else. The planner does not read it: what corrects the rates of this machine is kept beside
its calibration (devices/measured_runs.py).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from edgecomp.common.errors import ResultsNewer, ResultsUnusable
from edgecomp.common.events import Listener, Warned
from edgecomp.common.folders import results_folder
from edgecomp.results.stored_run import Figure, StoredRun, utc_text

STORE = "results.sqlite"
SCHEMA_VERSION = 1
APPLICATION = 0x45444745
"""`EDGE`, in the header of the file."""

BUSY_SECONDS = 20.0
"""How long a writer waits for the others."""

MAGIC = b"SQLite format 3\0"
VERSION_AT, APPLICATION_AT, HEADER_BYTES = 60, 68, 100
"""Where a SQLite file's header holds `user_version` and `application_id`, each in 4 bytes."""

RUN_COLUMNS = tuple(name for name in StoredRun.model_fields if name != "figures")
FIGURE_COLUMNS = tuple(Figure.model_fields)
REAL = ("bits_per_weight", "predicted", "measured", "low", "high")
WHOLE = ("size_bytes", "context", "threads", "busy")
RESULT_COLUMNS = (
    *RUN_COLUMNS,
    *("figure_device" if name == "device" else name for name in FIGURE_COLUMNS),
)
"""Of the view: a figure's own device has a name of its own."""


def store_path() -> Path:
    """Where results are kept."""
    return results_folder() / STORE


def keep_result(run: StoredRun, listen: Listener) -> None:
    """Add a run to the store. What stands in the way is told, and is no error of the run."""
    try:
        add_run(run, store_path())
    except (ResultsNewer, ResultsUnusable) as error:
        listen(Warned(text=f"The figures were not kept for `edgecomp results`: {error}"))


def add_run(run: StoredRun, path: Path) -> None:
    """Add a run to the store at `path`; one that it has is said to be of now, where it is now.

    Raises ResultsNewer, and ResultsUnusable where it cannot be written.
    """
    with _explained(path):
        _create(path)
        with closing(_connect(path)) as database, _transaction(database):
            _require_own(database, path)
            _insert(database, run)


def read_rows(path: Path, query: str, parameters: tuple[Any, ...] = ()) -> list[sqlite3.Row]:
    """The rows of a query, without writing; none where there is no store yet.

    Raises ResultsNewer, and ResultsUnusable where it cannot be read.
    """
    with _explained(path):
        if not path.exists() or not _is_begun(path):
            return []
        address = f"{path.resolve().as_uri()}?mode=ro"
        with closing(sqlite3.connect(address, timeout=BUSY_SECONDS, uri=True)) as database:
            _require_own(database, path)
            database.row_factory = sqlite3.Row
            return database.execute(query, parameters).fetchall()


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except Timeout as error:
        raise ResultsUnusable(path, "another process keeps it locked") from error
    except sqlite3.Error as error:
        raise ResultsUnusable(path, str(error)) from error
    except OSError as error:
        raise ResultsUnusable(path, (error.strerror or str(error)).lower()) from error


def _is_begun(path: Path) -> bool:
    """Whether the file holds a store. One of a newer version is refused before SQLite opens it,
    which would write beside it."""
    header = path.open("rb").read(HEADER_BYTES) if path.is_file() else b""
    if not header:
        return False
    if not header.startswith(MAGIC):
        raise ResultsUnusable(path, "it is no SQLite file")
    version, application = (
        int.from_bytes(header[at : at + 4], "big") for at in (VERSION_AT, APPLICATION_AT)
    )
    if application and application != APPLICATION:
        raise ResultsUnusable(path, "it is a database of something else")
    if version > SCHEMA_VERSION:
        raise ResultsNewer(path, version, SCHEMA_VERSION)
    return bool(application)


def _create(path: Path) -> None:
    if _is_begun(path):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # Only one process at a time can set the journal, and SQLite does not wait for its turn.
    with FileLock(path.with_name(f".{path.name}.lock"), timeout=BUSY_SECONDS):
        if _is_begun(path):
            return
        with closing(_connect(path)) as database:
            # What one that was killed here had written may stand in the log alone.
            if _number(database, "PRAGMA application_id") == APPLICATION:
                return
            if _number(database, "SELECT count(*) FROM sqlite_master"):
                raise ResultsUnusable(path, "it is a database of something else")
            database.execute("PRAGMA journal_mode = WAL")
            with _transaction(database):
                for statement in _statements():
                    database.execute(statement)


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)


@contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[None]:
    """What the block writes is there whole or not at all."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


def _require_own(database: sqlite3.Connection, path: Path) -> None:
    """A newer version may stand in the log beside the file while its header is still the old."""
    version = _number(database, "PRAGMA user_version")
    if version > SCHEMA_VERSION:
        raise ResultsNewer(path, version, SCHEMA_VERSION)


def _number(database: sqlite3.Connection, query: str) -> int:
    return int(database.execute(query).fetchone()[0])


def _statements() -> Iterator[str]:
    yield f"CREATE TABLE runs (key TEXT PRIMARY KEY, {_typed(RUN_COLUMNS)})"
    yield (
        "CREATE TABLE figures (run TEXT NOT NULL REFERENCES runs(key), place INTEGER NOT NULL, "
        f"{_typed(FIGURE_COLUMNS)}, PRIMARY KEY (run, place))"
    )
    own = ", ".join(f"runs.{name}" for name in RUN_COLUMNS)
    more = ", ".join(
        f"figures.{name}" + (" AS figure_device" if name == "device" else "")
        for name in FIGURE_COLUMNS
    )
    yield f"CREATE VIEW results AS SELECT {own}, {more} FROM figures JOIN runs ON key = run"
    yield "CREATE INDEX runs_at ON runs (at)"
    yield "CREATE INDEX figures_quantity ON figures (quantity)"
    yield f"PRAGMA application_id = {APPLICATION}"
    yield f"PRAGMA user_version = {SCHEMA_VERSION}"


def _typed(columns: tuple[str, ...]) -> str:
    kinds = ("REAL" if c in REAL else "INTEGER" if c in WHOLE else "TEXT" for c in columns)
    return ", ".join(f"{name} {kind}" for name, kind in zip(columns, kinds, strict=True))


def _insert(database: sqlite3.Connection, run: StoredRun) -> None:
    values = run.model_dump(mode="json", exclude={"figures"}) | {"at": utc_text(run.at)}
    known = database.execute(
        "UPDATE runs SET at = ?, artifact = ? WHERE key = ?",
        (values["at"], values["artifact"], run.key),
    )
    if known.rowcount:
        return
    _insert_row(database, "runs", (run.key, *(values[name] for name in RUN_COLUMNS)))
    for place, figure in enumerate(run.figures):
        # SQLite keeps what is not a number as NULL.
        row = figure.model_dump(mode="python")
        _insert_row(database, "figures", (run.key, place, *(row[n] for n in FIGURE_COLUMNS)))


def _insert_row(database: sqlite3.Connection, table: str, values: tuple[Any, ...]) -> None:
    marks = ", ".join("?" * len(values))
    database.execute(f"INSERT INTO {table} VALUES ({marks})", values)
