"""The app in a browser. Whoever reaches the port uses this machine, so only this machine does
unless an address is given, and only pages that the server itself sent may drive the app."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from aiohttp import web
from textual_serve.server import Server

LOOPBACK = "127.0.0.1"
PORT = 8765


def is_own_page(origin: str | None, host: str, bound_to: str, port: int) -> bool:
    """Whether a connection comes from a page of this server.

    `origin` and `host` are the request's headers. A page of another site may reach a loopback port
    through its visitor's browser: its Origin tells. Where a foreign name was made to point here,
    both headers agree, so on loopback the name has to be this machine's as well.
    """
    if bound_to == LOOPBACK and host not in (f"{LOOPBACK}:{port}", f"localhost:{port}"):
        return False
    return origin in (None, f"http://{host}", f"https://{host}")


class AppServer(Server):
    """textual-serve's server, which by itself takes connections from any page."""

    async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
        if not is_own_page(request.headers.get("Origin"), request.host, self.host, self.port):
            raise web.HTTPForbidden(text="Only the pages of this server may use the app.")
        return await super().handle_websocket(request)


def serve_app(data: Path | None = None, host: str = LOOPBACK, port: int = PORT) -> None:
    """Serve the app on http://HOST:PORT until interrupted; each visitor has an app of their own."""
    command = [sys.executable, "-m", "edgecomp.tui", *([str(data)] if data else [])]
    AppServer(shlex.join(command), host=host, port=port, title="edgecomp").serve()
