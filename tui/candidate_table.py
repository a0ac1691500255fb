"""The plan's candidates as a table that sorts by any column."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.widgets import DataTable

from edgecomp.common.quantity import format_size
from edgecomp.planning.answer import expected_loss
from edgecomp.planning.plan import Candidate

from .bars import stacked_bar
from .cut import cut_middle
from .figures import figure, right
from .memory_parts import memory_parts

FIT_SIGNS = {"fits": "● fits", "tight": "◐ tight", "no": "○ no"}
FIT_COLOURS = {"fits": "green", "tight": "yellow", "no": "red"}
RISKS = {"LOW": 0, "MEDIUM": 1, "HIGH": 2}
Key = Callable[[Candidate], Any]


def state(row: Candidate) -> str:
    """`fits`, `tight`, or `no`: a candidate that any reason speaks against is out."""
    return "no" if row.rejections else row.fits


COLUMNS: dict[str, Key] = {
    "fits": lambda row: ["fits", "tight", "no"].index(state(row)),
    "format": lambda row: row.name,
    "context": lambda row: row.context,
    "size": lambda row: row.file_bytes,
    "peak": lambda row: row.memory.total_bytes,
    "memory": lambda row: row.memory.total_bytes,
    "tok/s": lambda row: -row.speed.decode_tokens_per_second,
    "risk": lambda row: RISKS[row.risk],
}
WIDE_COLUMNS: dict[str, Key] = {
    "on GPU": lambda row: -row.placement.gpu_layers,
    "bits": lambda row: row.bits_per_weight,
    "prefill/s": lambda row: -row.speed.prefill_tokens_per_second,
    "loss, nats": lambda row: row.expected_divergence_nats,
}
OTHER_COLUMNS_CELLS = 105
"""What all columns but the drawn memory take on a wide terminal, with the scroll bar."""

NUMERIC = {"context", "size", "peak", "tok/s", "on GPU", "bits", "prefill/s", "loss, nats"}


class CandidateTable(DataTable[Text]):
    """Best first, as the planner ranks them, until another order is asked for."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "select_cursor", "Make this"),
        Binding("s", "next_order", "Sort"),
        Binding("S", "reverse", "Reverse", show=False),
    ]

    def __init__(self) -> None:
        super().__init__(cursor_type="row", zebra_stripes=True, id="candidates")
        self.rows_shown: list[Candidate] = []
        self._candidates: Sequence[Candidate] = ()
        self._shown: object = None
        self.order: str | None = None
        self.reversed = False

    @property
    def wide(self) -> bool:
        return self.app.size.width >= 120

    @property
    def bar_cells(self) -> int:
        """Room for the memory as a bar."""
        return min(max(self.app.size.width - OTHER_COLUMNS_CELLS, 11), 40) if self.wide else 11

    @property
    def highlighted(self) -> Candidate | None:
        if 0 <= self.cursor_row < len(self.rows_shown):
            return self.rows_shown[self.cursor_row]
        return None

    def show_candidates(self, candidates: Sequence[Candidate]) -> None:
        """Fill the table. The cursor follows its candidate, and on the first row the best one."""
        kept = self.highlighted.label if self.highlighted and self.cursor_row else None
        shown = (candidates, self.order, self.reversed, self.wide, self.bar_cells)
        if shown == self._shown:
            return
        self._shown = shown
        self._candidates = candidates
        keys = COLUMNS | (WIDE_COLUMNS if self.wide else {})
        rows = list(candidates)
        if self.order in keys:
            rows.sort(key=keys[self.order], reverse=self.reversed)
        limit = max((row.memory.total_bytes for row in rows if not row.rejections), default=0)
        limit = limit or max((row.memory.total_bytes for row in rows), default=1)
        cells = [self._cells(row, limit) for row in rows]
        self.clear(columns=True)
        for index, name in enumerate(keys):
            mark = ("▾" if self.reversed else "▴") if name == self.order else ""
            heading = Text(name + mark, justify="right" if name in NUMERIC else "left")
            # Given widths: a table that measures its own can be drawn before it has done so.
            width = max(cell.cell_len for cell in (heading, *(line[index] for line in cells)))
            self.add_column(heading, key=name, width=width)
        for row, line in zip(rows, cells, strict=True):
            self.add_row(*line, key=row.label)
        self.rows_shown = rows
        labels = [row.label for row in rows]
        if kept in labels:
            self.move_cursor(row=labels.index(kept))

    def _cells(self, row: Candidate, limit: int) -> list[Text]:
        fit = state(row)
        bar = stacked_bar(memory_parts(row.memory), limit, self.bar_cells)
        cells = [
            Text(FIT_SIGNS[fit], style=FIT_COLOURS[fit]),
            Text(cut_middle(row.name, 9)),
            right(str(row.context)),
            right(format_size(row.file_bytes)),
            right(format_size(row.memory.total_bytes)),
            bar,
            right(figure(row.speed.decode_tokens_per_second)),
            Text(row.risk.lower()),
        ]
        if self.wide:
            cells += [
                right(str(row.placement.gpu_layers) if row.placement.gpus else "-"),
                right(f"{row.bits_per_weight:.2f}"),
                right(figure(row.speed.prefill_tokens_per_second)),
                right(expected_loss(row)),
            ]
        return cells

    def action_next_order(self) -> None:
        """Go to the next column, and after the last one back to the planner's ranking."""
        names = [None, *COLUMNS, *(WIDE_COLUMNS if self.wide else {})]
        index = names.index(self.order) if self.order in names else 0
        self.sort_by(names[(index + 1) % len(names)])

    def action_reverse(self) -> None:
        self.reversed = not self.reversed
        self.show_candidates(self._candidates)

    def on_data_table_header_selected(self, event: DataTable.HeaderSelected) -> None:
        name = str(event.column_key.value)
        if name == self.order:
            self.action_reverse()
        else:
            self.sort_by(name)

    def sort_by(self, name: str | None) -> None:
        self.order, self.reversed = name, False
        self.show_candidates(self._candidates)
