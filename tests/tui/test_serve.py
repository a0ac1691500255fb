"""The app in a browser."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from edgecomp.tui.serve import LOOPBACK, is_own_page

START_SECONDS = 30


@pytest.fixture
def address(here: Path) -> Iterator[str]:
    """A running server's address."""
    with socket.socket() as free:
        free.bind((LOOPBACK, 0))
        port = free.getsockname()[1]
    script = f"from edgecomp.tui.serve import serve_app; serve_app(port={port})"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        try:
            deadline = time.monotonic() + START_SECONDS
            while time.monotonic() < deadline:
                with socket.socket() as probe:
                    if probe.connect_ex((LOOPBACK, port)) == 0:
                        break
                time.sleep(0.1)
            yield f"{LOOPBACK}:{port}"
        finally:
            server.terminate()


def test_a_browser_gets_the_page_and_the_app_s_first_screen(address: str) -> None:
    async def visit() -> bytes:
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://{address}/") as page:
                assert page.status == 200 and "edgecomp" in await page.text()
            async with session.ws_connect(f"http://{address}/ws?width=100&height=30") as socket_:
                shown = b""
                while b"Compare" not in shown:
                    message = await socket_.receive(timeout=START_SECONDS)
                    assert message.type is not aiohttp.WSMsgType.CLOSED
                    if message.type is aiohttp.WSMsgType.BINARY:
                        shown += message.data
                return shown

    assert b"Bundle" in asyncio.run(visit())


def test_a_page_of_another_site_may_not_drive_the_app(address: str) -> None:
    async def intrude() -> int:
        async with aiohttp.ClientSession() as session:
            try:
                await session.ws_connect(f"http://{address}/ws", origin="http://elsewhere.example")
            except aiohttp.WSServerHandshakeError as error:
                return error.status
        return 200

    assert asyncio.run(intrude()) == 403


def test_a_foreign_name_that_points_here_is_refused_on_loopback() -> None:
    host = "elsewhere.example:8765"
    assert not is_own_page(f"http://{host}", host, LOOPBACK, 8765)
    assert is_own_page("http://localhost:8765", "localhost:8765", LOOPBACK, 8765)
    assert is_own_page("http://box:8765", "box:8765", "0.0.0.0", 8765)


@pytest.mark.demo
def test_the_app_is_usable_in_chromium(address: str) -> None:
    """Whoever opens the page can pick the demo model with the mouse and plan it by a key."""
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("Chromium is not installed")
    received: list[bytes] = []

    def listen(channel: Any) -> None:
        channel.on("framereceived", lambda frame: received.append(_bytes(frame)))

    with playwright.sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.on("websocket", listen)
        page.goto(f"http://{address}/")

        def until(text: bytes) -> None:
            deadline = time.monotonic() + START_SECONDS
            while text not in b"".join(received):
                assert time.monotonic() < deadline, f"{text!r} never appeared"
                page.wait_for_timeout(100)
            received.clear()

        page.wait_for_selector(".xterm-screen", timeout=1000 * START_SECONDS)
        until(b"demo")
        page.locator(".xterm-screen").click(position={"x": 60, "y": 45})
        page.keyboard.press("Enter")
        until(b"embedding")
        page.keyboard.press("3")
        until(b"best for the task")
        browser.close()


def _bytes(frame: str | bytes) -> bytes:
    return frame.encode() if isinstance(frame, str) else frame
