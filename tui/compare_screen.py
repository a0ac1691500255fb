"""Several bundles beside each other: a table, and size against divergence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import work
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widget import Widget
from textual_plotext import PlotextPlot

from .choice_list import ChoiceTable
from .cut import cut_middle
from .figures import right
from .notice import Notice
from .page import Page

if TYPE_CHECKING:
    from edgecomp.bundles.compare import BundleComparison, Variant

COLUMNS = ("shown", "bundle", "format", "size", "peak", "tok/s", "KL, nats", "verdict")
FIGURES = ("size", "peak", "tok/s", "KL, nats")


class CompareScreen(Page):
    """Space takes a bundle into the plot or out of it."""

    PAGE = "compare"
    PURPOSE = (
        "Compare bundles on size, memory, speed, divergence and each capability. The line in the "
        "plot joins those that no other of the same base beats in size, speed and divergence."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "take", "In or out"),
        Binding("o", "open", "Add a bundle"),
        Binding("k", "kept", "Add a kept run"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.folders: list[Path] = []
        self.variants: tuple[Variant, ...] = ()
        self.left_out: set[int] = set()
        self._added: list[Path] = []

    def body(self) -> Iterable[Widget]:
        yield Notice("compare-notice")
        with Vertical(id="compare"):
            yield ChoiceTable("compare-table")
            yield PlotextPlot(id="compare-plot")

    def show_session(self) -> None:
        if not self.variants:
            self.query_one("#compare").display = False
            self.query_one("#compare-notice", Notice).say("loading", "Looking for bundles")
        self.load()

    @work(thread=True, group="bundles", exclusive=True)
    def load(self) -> None:
        from edgecomp.bundles.compare import compare_bundles, read_report
        from edgecomp.common.errors import EdgecompError
        from edgecomp.evaluate.comparison import require_breadth

        from .bundles import find_bundles

        folders, faults = [], []
        for folder in dict.fromkeys([*self._added, *find_bundles()]):
            try:
                require_breadth(read_report(folder).comparison)
                folders.append(folder)
            except EdgecompError as error:
                faults.append(f"{folder.name}: {error}")
        compared = compare_bundles(folders) if len(folders) > 1 else None
        self.app.call_from_thread(self._take, folders, compared, faults)

    def _take(
        self, folders: list[Path], compared: BundleComparison | None, faults: list[str]
    ) -> None:
        self.folders = folders
        self.variants = compared.variants if compared else ()
        notice = self.query_one("#compare-notice", Notice)
        self.query_one("#compare").display = compared is not None
        if faults:
            notice.say("error", " ".join(faults))
        elif compared is None:
            found = f"One bundle, {folders[0].name}" if folders else "No bundles yet"
            notice.say(
                "empty",
                f"{found}: a comparison needs two. Each run adds one; o adds a folder, k one of "
                "the runs that were kept.",
            )
        elif compared.notices:
            notice.say("warning", " ".join(compared.notices))
        else:
            notice.hide()
        if compared:
            self._fill()
            self._plot()
            self.set_focus(self.query_one(ChoiceTable))

    def _fill(self) -> None:
        table = self.query_one(ChoiceTable)
        row = table.cursor_row
        table.clear(columns=True)
        categories = self._categories()
        for name in (*COLUMNS, *categories):
            numeric = name in FIGURES or name in categories
            table.add_column(Text(name, justify="right" if numeric else "left"), key=name)
        for index, variant in enumerate(self.variants):
            table.add_row(*self._cells(index, variant, categories))
        table.move_cursor(row=row)

    def _categories(self) -> list[str]:
        """The capabilities that any of the bundles was asked for, where there is room."""
        if self.app.size.width < 120:
            return []
        return list(
            dict.fromkeys(
                str(row.category)
                for variant in self.variants
                for row in variant.comparison.categories
            )
        )

    def _cells(self, index: int, variant: Variant, categories: list[str]) -> list[Text]:
        from edgecomp.common.quantity import format_size

        scores = {str(row.category): row for row in variant.comparison.categories}
        cells = [
            Text("□" if index in self.left_out else "■"),
            Text(cut_middle(variant.name, 14)),
            Text(cut_middle(variant.format, 9)),
            right(format_size(variant.artifact_bytes)),
            right(format_size(variant.peak_memory_bytes)),
            right(f"{variant.decode_tokens_per_second.median:.1f}"),
            right(f"{variant.divergence.kl_mean:.4f}"),
            Text(variant.level),
        ]
        for name in categories:
            row = scores.get(name)
            cells.append(right(f"{row.artifact_percent:.1f} %" if row else "-"))
        return cells

    def _plot(self) -> None:
        from edgecomp.bundles.compare import on_front

        view = self.query_one("#compare-plot", PlotextPlot)
        plot = view.plt
        plot.clear_data()
        plot.title("size (MB) against KL divergence (nats); the line joins the best trade-offs")
        taken = [
            row
            for index, row in enumerate(self.variants)
            if index not in self.left_out and isfinite(row.divergence.kl_mean)
        ]
        if taken:
            front = sorted(_points([row for row in taken if on_front(row, taken)]))
            plot.plot([x for x, _ in front], [y for _, y in front])
            points = _points(taken)
            for variant, (x, y) in zip(taken, points, strict=True):
                plot.text(f"● {variant.format}", x, y, alignment="left")
            # Room for the names right of the largest.
            least, most = min(x for x, _ in points), max(x for x, _ in points)
            plot.xlim(0.98 * least, most + 0.15 * (most - 0.9 * least))
        view.refresh()

    def action_take(self) -> None:
        """Take the highlighted bundle into the plot, or out of it."""
        self.left_out ^= {self.query_one(ChoiceTable).cursor_row}
        self._fill()
        self._plot()

    def on_data_table_row_selected(self) -> None:
        self.session.folder = self.folders[self.query_one(ChoiceTable).cursor_row]
        self.edgecomp.action_show("results")

    def action_open(self) -> None:
        from .path_screen import PathScreen

        self.app.push_screen(PathScreen("Add which bundle?"), self._open)

    def _open(self, answer: str | None) -> None:
        if answer:
            self._add(Path(answer).expanduser().absolute())

    def action_kept(self) -> None:
        from .kept_runs_screen import KeptRunsScreen

        self.app.push_screen(KeptRunsScreen(), self._add)

    def _add(self, folder: Path | None) -> None:
        if folder:
            self._added.append(folder)
            self.load()


def _points(variants: Sequence[Variant]) -> list[tuple[float, float]]:
    return [(row.artifact_bytes / 1e6, row.divergence.kl_mean) for row in variants]
