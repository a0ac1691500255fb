"""Pick the device, and set two beside each other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from textual import work
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.widget import Widget
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from .choice_list import ChoiceList
from .cut import cut_middle
from .notice import Notice
from .page import Page

if TYPE_CHECKING:
    from edgecomp.devices.profile import DeviceProfile

LIST_WIDTH = 22


class DeviceScreen(Page):
    """Profiles on the left; the highlighted one, and one to compare with, on the right."""

    PAGE = "device"
    PURPOSE = (
        "Pick the device that the artifact must fit: this machine, or a profile. "
        "c keeps the highlighted one in view, to compare others with it."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("c", "compare", "Compare with this"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.shown: DeviceProfile | None = None
        self.kept: DeviceProfile | None = None

    def body(self) -> Iterable[Widget]:
        with Horizontal():
            yield ChoiceList(id="device-list")
            with Horizontal(id="device-views"):
                with VerticalScroll():
                    yield Notice("device-notice")
                    yield Static(id="device-shown")
                with VerticalScroll(id="device-kept-view"):
                    yield Static(id="device-kept")

    def on_mount(self) -> None:
        self.set_focus(self.query_one("#device-list", OptionList))
        self.query_one("#device-notice", Notice).say("loading", "Looking at this machine")
        self.list_profiles()

    @work(thread=True, group="profiles")
    def list_profiles(self) -> None:
        from edgecomp.devices.profile import profile_paths

        self.app.call_from_thread(self._fill, ["auto", *profile_paths()])

    def _fill(self, names: list[str]) -> None:
        listed = self.query_one("#device-list", OptionList)
        listed.add_options(Option(cut_middle(name, LIST_WIDTH), id=name) for name in names)
        wanted = self.session.device_name
        listed.highlighted = names.index(wanted) if wanted in names else 0

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        self.load(event.option.id or "auto")

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.action_use()

    @work(thread=True, group="device", exclusive=True)
    def load(self, name: str) -> None:
        from edgecomp.common.errors import EdgecompError
        from edgecomp.devices.finding import find_device

        try:
            device = find_device(name)
        except (EdgecompError, OSError) as error:
            self.app.call_from_thread(self._fail, str(error))
            return
        self.app.call_from_thread(self._show, device)

    def _fail(self, text: str) -> None:
        self.shown = None
        self.query_one("#device-shown", Static).display = False
        self.query_one("#device-notice", Notice).say("error", text)

    def _show(self, device: DeviceProfile) -> None:
        self.shown = device
        self.query_one("#device-notice", Notice).hide()
        self._draw()

    def _draw(self) -> None:
        from .device_view import device_view

        devices = [device for device in (self.shown, self.kept) if device]
        scale = max((pool.size for device in devices for pool in device.pools), default=1)
        self.query_one("#device-kept-view").display = self.kept is not None
        for place, device in (("#device-shown", self.shown), ("#device-kept", self.kept)):
            view = self.query_one(place, Static)
            view.display = device is not None
            if device:
                columns = (self.app.size.width - 30) // (2 if self.kept else 1) - 4
                view.update(device_view(device, scale, max(min(columns, 60), 10)))

    def action_compare(self) -> None:
        """Keep the highlighted device in view, or let it go."""
        self.kept = None if self.kept == self.shown else self.shown
        self._draw()

    def action_use(self) -> None:
        """Plan for the highlighted device from now on."""
        if self.shown is None:
            return
        self.session.device, self.session.device_name = self.shown, self.shown.name
        self.session.forget_plan()
        self.show_where()
        self.notify(f"Plans are made for {self.shown.title}. Key 3 shows them.")
