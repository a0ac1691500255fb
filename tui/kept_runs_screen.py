"""Offers the runs of the store of results whose bundles can be compared."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import DataTable, Label

from .bundles import REPORT
from .choice_list import ChoiceTable
from .cut import cut_middle
from .figures import figure, right

if TYPE_CHECKING:
    from edgecomp.results.stored_run import StoredRun

MOST = 200
"""Runs listed, the latest."""


class KeptRunsScreen(ModalScreen[Path | None]):
    """Dismissed with the folder of a bundle, or with None."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "give_up", "Cancel")]

    def __init__(self) -> None:
        super().__init__()
        self.runs: tuple[StoredRun, ...] = ()

    def compose(self) -> ComposeResult:
        with Vertical(id="kept-runs"):
            yield Label("Reading what is kept", id="kept-runs-said")
            yield ChoiceTable("kept-runs-table")
            yield Label("Enter adds the bundle, Esc cancels", classes="dim")

    def on_mount(self) -> None:
        self.load()

    @work(thread=True, group="bundles", exclusive=True)
    def load(self) -> None:
        from edgecomp.common.errors import EdgecompError
        from edgecomp.results.query import ResultsFilter, read_results

        try:
            found = read_results(ResultsFilter()).runs
        except EdgecompError as error:
            self.app.call_from_thread(self._say, str(error))
            return
        runs = [run for run in found if (Path(run.artifact) / REPORT).is_file()]
        self.app.call_from_thread(self._take, tuple(runs[:MOST]), len(found))

    def _say(self, text: str) -> None:
        self.query_one("#kept-runs-said", Label).update(Text(text))

    def _take(self, runs: tuple[StoredRun, ...], kept: int) -> None:
        self.runs = runs
        self._say(f"{len(runs)} of {kept} kept runs have a bundle that is still there.")
        table = self.query_one(ChoiceTable)
        for name, numeric in (("when", False), ("model", False), ("format", False),
                              ("device", False), ("tok/s", True), ("KL, nats", True)):  # fmt: skip
            table.add_column(Text(name, justify="right" if numeric else "left"))
        for run in runs:
            table.add_row(
                Text(f"{run.at:%m-%d}"),
                Text(cut_middle(run.model, 16)),
                Text(cut_middle(run.format, 9)),
                Text(cut_middle(run.device, 14)),
                right(_measured(run, "decode")),
                right(_measured(run, "divergence")),
            )
        self.set_focus(table)

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        event.stop()
        self.dismiss(Path(self.runs[event.cursor_row].artifact))

    def action_give_up(self) -> None:
        self.dismiss(None)


def _measured(run: StoredRun, quantity: str) -> str:
    row = run.figure(quantity)
    return "-" if row is None or row.measured is None else figure(row.measured)
