"""The hub, played by a server on this machine: headers alone for a plan, everything for a run."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

REPOSITORY = "someone/tiny"
COMMIT = "0" * 40
ROWS, WIDTH = 2000, 64


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub-model")
    projections = {"q_proj": WIDTH, "k_proj": WIDTH, "v_proj": WIDTH, "o_proj": WIDTH}
    save_file(
        {
            "model.embed_tokens.weight": np.zeros((ROWS, WIDTH), dtype=np.float16),
            "model.norm.weight": np.ones(WIDTH, dtype=np.float16),
            "model.layers.0.mlp.down_proj.weight": np.ones((WIDTH, 128), dtype=np.float16),
        }
        | {
            f"model.layers.0.self_attn.{name}.weight": np.ones((rows, WIDTH), dtype=np.float16)
            for name, rows in projections.items()
        },
        folder / "model.safetensors",
    )
    config = {
        "architectures": ["LlamaForCausalLM"], "hidden_size": WIDTH, "num_hidden_layers": 1,
        "num_attention_heads": 2, "intermediate_size": 128, "tie_word_embeddings": True,
        "max_position_embeddings": 256,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    return folder


class Hub:
    """A server that answers as the hub does, and counts the bytes of weights it sends."""

    def __init__(self, folder: Path) -> None:
        self.weight_bytes = 0
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.answer(send=False)

            def do_GET(self) -> None:
                self.answer(send=True)

            def answer(self, send: bool) -> None:
                path = self.path.split("?")[0]
                if path.startswith("/api/"):
                    sizes = {p.name: p.stat().st_size for p in sorted(folder.iterdir())}
                    listed: object = [
                        {"type": "file", "path": name, "size": size, "oid": COMMIT}
                        for name, size in sizes.items()
                    ]
                    if "/tree/" not in path:
                        siblings = [{"rfilename": n, "size": s} for n, s in sizes.items()]
                        listed = {"id": REPOSITORY, "sha": COMMIT, "siblings": siblings}
                    self.reply(200, json.dumps(listed).encode(), send)
                    return
                file = folder / path.rsplit("/", 1)[-1]
                if not path.startswith(f"/{REPOSITORY}/resolve/") or not file.is_file():
                    self.reply(404, b"", send)
                    return
                body, wanted = file.read_bytes(), self.headers.get("Range")
                if wanted:
                    first, last = (int(part) for part in wanted.removeprefix("bytes=").split("-"))
                    body = body[first : last + 1]
                if send and file.suffix == ".safetensors":
                    hub.weight_bytes += len(body)
                self.reply(206 if wanted else 200, body, send, file)

            def reply(self, status: int, body: bytes, send: bool, file: Path | None = None) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("X-Repo-Commit", COMMIT)
                if file:
                    digest = hashlib.sha256(file.read_bytes()).hexdigest()
                    self.send_header("ETag", f'"{digest}"')
                self.end_headers()
                if send:
                    self.wfile.write(body)

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def hub(model_folder: Path) -> Iterator[Hub]:
    hub = Hub(model_folder)
    yield hub
    hub.server.shutdown()


def inspect(hub: Hub, tmp_path: Path, *extra: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: the client reads its settings once."""
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.address,
        "HF_HOME": str(tmp_path / "hf"),
        "EDGECOMP_CACHE": str(tmp_path / "cache"),
        "HF_HUB_DISABLE_XET": "1",
    }
    environment.pop("HF_HUB_OFFLINE", None)
    return subprocess.run(
        [sys.executable, *extra], capture_output=True, text=True, env=environment, timeout=60
    )


def test_a_hub_id_is_inspected_from_its_headers_alone(hub: Hub, tmp_path: Path) -> None:
    done = inspect(hub, tmp_path, "-m", "edgecomp.cli", "inspect", REPOSITORY, "--json")
    assert done.returncode == 0, done.stderr
    model = json.loads(done.stdout)
    assert model["vocabulary"] == ROWS and model["file_bytes"] > 2 * ROWS * WIDTH
    assert 0 < hub.weight_bytes < 1000


def test_weights_are_downloaded_only_when_they_are_wanted(hub: Hub, tmp_path: Path) -> None:
    code = (
        "from edgecomp.model import read_model\n"
        f"model = read_model({REPOSITORY!r}, weights=True)\n"
        "print(sum(f.stat().st_blocks for f in model.path.resolve().glob('*.safetensors')))"
    )
    done = inspect(hub, tmp_path, "-c", code)
    assert done.returncode == 0, done.stderr
    assert hub.weight_bytes > 2 * ROWS * WIDTH


def test_an_unknown_model_is_an_explained_error(hub: Hub, tmp_path: Path) -> None:
    hub.server.shutdown()
    hub.server.server_close()
    done = inspect(hub, tmp_path, "-m", "edgecomp.cli", "inspect", REPOSITORY)
    assert done.returncode == 2
    assert "could not be fetched from the hub" in done.stderr
    assert "Traceback" not in done.stderr
