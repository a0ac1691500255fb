"""A bundle's files and launchers, and whether it is still what its manifest says."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import work
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.widget import Widget
from textual.widgets import DataTable, ProgressBar, Static

from .cut import cut_middle
from .notice import Notice
from .page import Page

if TYPE_CHECKING:
    from edgecomp.bundles.bundle import Manifest, Verification


STARTERS = {
    "serve.sh": "{path}",
    "chat.py": "python {path}",
    "Modelfile": "ollama create NAME -f {path}",
    "service.sh": "{path} > ~/.config/systemd/user/NAME.service",
}
"""What a bundle may be started with, and the command for it; the first there is copied."""


class BundleScreen(Page):
    """Files above, how to start the artifact below."""

    PAGE = "bundle"
    PURPOSE = (
        "See what to ship. v hashes every file again and has the artifact write a few words; "
        "c copies the command that serves it, f the highlighted file's hash."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("v", "verify", "Verify"),
        Binding("c", "copy_command", "Copy the command"),
        Binding("f", "copy_hash", "Copy the hash"),
        Binding("o", "open", "Open"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.manifest: Manifest | None = None
        self._shown: Path | None = None

    def body(self) -> Iterable[Widget]:
        yield Notice("bundle-notice")
        with Vertical(id="bundle"):
            yield DataTable(cursor_type="row", zebra_stripes=True, id="bundle-files")
            yield ProgressBar(id="bundle-progress", show_eta=False)
            with VerticalScroll(id="bundle-start"):
                yield Static(id="bundle-launchers")

    def on_mount(self) -> None:
        self.query_one("#bundle-progress").display = False

    def show_session(self) -> None:
        if self.session.folder is None or self.session.folder != self._shown:
            self.query_one("#bundle-notice", Notice).say("loading", "Reading the manifest")
            self.load(self.session.folder)

    @work(thread=True, group="manifest", exclusive=True)
    def load(self, folder: Path | None) -> None:
        from edgecomp.bundles.bundle import read_manifest
        from edgecomp.common.errors import EdgecompError

        from .bundles import find_bundles

        try:
            folder = folder or next(iter(find_bundles()), None)
            manifest = read_manifest(folder) if folder else None
        except EdgecompError as error:
            self.app.call_from_thread(self._fail, "error", str(error))
            return
        if folder is None or manifest is None:
            text = "No bundle yet. A finished run makes one; o opens a folder."
            self.app.call_from_thread(self._fail, "empty", text)
            return
        self.app.call_from_thread(self._take, folder, manifest)

    def _fail(self, state: str, text: str) -> None:
        self.query_one("#bundle").display = False
        self.query_one("#bundle-notice", Notice).say(state, text)  # type: ignore[arg-type]

    def _take(self, folder: Path, manifest: Manifest) -> None:
        from edgecomp.common.quantity import format_size

        self.session.folder = self._shown = folder
        self.manifest = manifest
        self.query_one("#bundle-notice", Notice).hide()
        self.query_one("#bundle").display = True
        wide = self.app.size.width >= 120
        table: DataTable[Text] = self.query_one("#bundle-files", DataTable)
        table.clear(columns=True)
        for name in ("file", "size", "SHA-256"):
            table.add_column(Text(name, justify="right" if name == "size" else "left"), key=name)
        for name, file in manifest.files.items():
            table.add_row(
                Text(
                    cut_middle(name, 60 if wide else 34),
                    style="bold" * name.startswith(manifest.artifact),
                ),
                Text(format_size(file.size_bytes), justify="right"),
                Text(cut_middle(file.sha256, 64 if wide else 25)),
                key=name,
            )
        self.set_focus(table)
        self.query_one("#bundle-launchers", Static).update(self._launchers(folder))

    def _launchers(self, folder: Path) -> Text:
        text = Text("Start it\n", style="bold")
        shown = cut_middle(str(folder), self.app.size.width - 30)
        present = [name for name in STARTERS if (folder / name).is_file()]
        for name in present:
            text.append(STARTERS[name].format(path=f"{shown}/{name}") + "\n", style="not bold")
        for name in present:
            text.append(f"\n{name}\n", style="bold")
            text.append((folder / name).read_text(encoding="utf-8"), style="not bold")
        return text

    def action_verify(self) -> None:
        if self._shown and self.manifest:
            self.query_one("#bundle-progress").display = True
            self.query_one("#bundle-notice", Notice).say("loading", "Hashing every file again")
            self.verify(self._shown)

    @work(thread=True, group="verify", exclusive=True)
    def verify(self, folder: Path) -> None:
        from edgecomp.bundles.bundle import verify_bundle
        from edgecomp.common.errors import EdgecompError

        def progress(done: float, total: float) -> None:
            bar = self.query_one("#bundle-progress", ProgressBar)
            self.app.call_from_thread(bar.update, total=total, progress=done)

        try:
            found = verify_bundle(folder, progress)
        except EdgecompError as error:
            self.app.call_from_thread(self._fail, "error", str(error))
            return
        self.app.call_from_thread(self._verified, found)

    def _verified(self, found: Verification) -> None:
        from edgecomp.terminal.report_tables import verification

        self.query_one("#bundle-progress").display = False
        notice = self.query_one("#bundle-notice", Notice)
        if found.faults:
            notice.say("error", " ".join(found.faults))
        else:
            notice.say("empty", str(verification(found)))

    def action_copy_command(self) -> None:
        folder = self._shown
        present = [name for name in STARTERS if folder and (folder / name).is_file()]
        if folder and present:
            self.app.copy_to_clipboard(STARTERS[present[0]].format(path=folder / present[0]))
            self.notify("Copied: the command that starts the artifact.")

    def action_copy_hash(self) -> None:
        table = self.query_one("#bundle-files", DataTable)
        if self.manifest:
            name = list(self.manifest.files)[table.cursor_row]
            self.app.copy_to_clipboard(self.manifest.files[name].sha256)
            self.notify(f"Copied: the SHA-256 of {name}.")

    def action_open(self) -> None:
        from .path_screen import PathScreen

        self.app.push_screen(PathScreen("Open which bundle?"), self._open)

    def _open(self, answer: str | None) -> None:
        if answer:
            self.session.folder = Path(answer).expanduser().absolute()
            self.show_session()
