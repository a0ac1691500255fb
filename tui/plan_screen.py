"""Every candidate, planned anew while one types, and why the highlighted one is in or out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from rich.console import Group
from rich.text import Text
from textual import work
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widget import Widget
from textual.widgets import DataTable, Input, Select, Static

from .candidate_table import CandidateTable
from .constraints_form import ConstraintsForm
from .notice import Notice
from .page import Page
from .plan_answer import plan_answer

if TYPE_CHECKING:
    from edgecomp.devices.profile import DeviceProfile
    from edgecomp.planning.plan import Candidate, Plan
    from edgecomp.recipes.constraints import Constraints


class PlanScreen(Page):
    """Fields above, candidates in the middle, the highlighted one's reason always below."""

    PAGE = "plan"
    PURPOSE = (
        "See what fits, and why the rest does not. Limits and the task are fields above the table; "
        "it is planned anew while you type. Enter makes a recipe of the highlighted candidate."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "edit", "Limits", key_display="/"),
        Binding("escape", "table", "Table", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._shown: Plan | None = None

    def body(self) -> Iterable[Widget]:
        yield ConstraintsForm()
        yield Notice("plan-notice")
        yield Static(id="plan-answer")
        yield CandidateTable()
        with VerticalScroll(id="reason"):
            yield Static(id="reason-text")

    def show_session(self) -> None:
        session = self.session
        if session.model is None:
            self._nothing("empty", "No model is chosen yet. Key 1 goes to the models.")
        elif session.plan is None:
            self.query_one(ConstraintsForm).read()
        elif session.plan is not self._shown:
            self.show_plan(session.plan)

    def on_constraints_form_changed(self, event: ConstraintsForm.Changed) -> None:
        if self.session.model is None or event.constraints == self._planned_for():
            return
        if self.session.plan is None:
            self._nothing("loading", "Planning")
        self.plan(event.constraints)

    def _planned_for(self) -> Constraints | None:
        return self.session.plan.constraints if self.session.plan else None

    @work(thread=True, group="plan", exclusive=True)
    def plan(self, constraints: Constraints) -> None:
        from textual.worker import get_current_worker

        from edgecomp.common.errors import EdgecompError
        from edgecomp.devices.finding import find_device
        from edgecomp.planning.planner import make_plan

        model, device = self.session.model, self.session.device
        worker = get_current_worker()
        if model is None:
            return
        try:
            device = device or find_device(self.session.device_name)
            plan = make_plan(model, device, constraints)
        except (EdgecompError, OSError) as error:
            if not worker.is_cancelled:
                self.app.call_from_thread(self._nothing, "error", str(error))
            return
        if not worker.is_cancelled:
            self.app.call_from_thread(self._take, plan, device)

    def _take(self, plan: Plan, device: DeviceProfile) -> None:
        self.session.plan, self.session.device = plan, device
        self.session.constraints = plan.constraints
        self.show_where()
        self.show_plan(plan)

    def _nothing(self, state: str, text: str) -> None:
        self.query_one("#plan-notice", Notice).say(state, text)  # type: ignore[arg-type]
        for part in (CandidateTable, "#reason", "#plan-answer"):
            self.query_one(part).display = False

    def show_plan(self, plan: Plan) -> None:
        self._shown = plan
        notice = self.query_one("#plan-notice", Notice)
        if plan.chosen is None:
            notice.say("warning", f"Nothing fits. {plan.nearest or ''}".strip())
        elif plan.job and plan.job.refusals:
            notice.say("warning", f"This machine cannot make it. {plan.job.refusals[0]}")
        else:
            notice.hide()
        answer = self.query_one("#plan-answer", Static)
        answer.display = plan.chosen is not None
        answer.update(plan_answer(plan))
        table = self.query_one(CandidateTable)
        table.display = self.query_one("#reason").display = True
        table.show_candidates(plan.candidates)
        self._show_reason(table.highlighted)
        if not isinstance(self.focused, Input | Select):
            self.set_focus(table)

    def on_resize(self) -> None:
        super().on_resize()
        if self._shown:
            # A wide terminal has room for more columns.
            self.query_one(CandidateTable).show_candidates(self._shown.candidates)

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        self._show_reason(self.query_one(CandidateTable).highlighted)

    def _show_reason(self, row: Candidate | None) -> None:
        from .reason import reason

        plan, device = self.session.plan, self.session.device
        lines = Group(*reason(row, plan, device)) if row and plan and device else Text()
        text = self.query_one("#reason-text", Static)
        # It fills its pane, so the screen is laid out anew only for a reason that needs scrolling.
        text.update(lines, layout=False)
        height = text.get_content_height(text.size, self.size, text.size.width)
        if text.size.height != max(height, self.query_one("#reason").size.height):
            text.refresh(layout=True)

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        self.action_make()

    def action_make(self) -> None:
        """Turn the highlighted candidate into a recipe."""
        row = self.query_one(CandidateTable).highlighted
        if row is None or self.session.plan is None:
            return
        if row.rejections:
            self.notify(row.rejections[0].text, title=f"{row.name} is out", severity="warning")
            return
        self.write(row, self.session.plan.constraints)

    @work(thread=True, group="recipe", exclusive=True)
    def write(self, row: Candidate, constraints: Constraints) -> None:
        from edgecomp.planning.recipe_of_plan import recipe_for

        session = self.session
        recipe = recipe_for(session.model_name or "demo", session.device_name, constraints, row)
        session.chosen, session.recipe = row, recipe
        self.app.call_from_thread(self.edgecomp.action_show, "recipe")

    def action_edit(self) -> None:
        self.set_focus(self.query_one("#context", Input))

    def action_table(self) -> None:
        self.set_focus(self.query_one(CandidateTable))
