"""The hub, played by a server on this machine: headers alone for a plan, everything for a run."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from edgecomp.models.safetensors_header import read_safetensors_header

REPOSITORY = "someone/tiny"
READ = "from edgecomp.models.reading import read_model\n"
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
        self.ignores_range = False
        self.refusal: tuple[int, str] | None = None
        """A status and the hub's code of an error, for every request."""

        self.sent: set[str] = set()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.answer(send=False)

            def do_GET(self) -> None:
                self.answer(send=True)

            def answer(self, send: bool) -> None:
                path = self.path.split("?")[0]
                if hub.refusal:
                    self.reply(hub.refusal[0], b"", send)
                    return
                if path.startswith("/api/"):
                    files = [p for p in sorted(folder.rglob("*")) if p.is_file()]
                    sizes = {p.relative_to(folder).as_posix(): p.stat().st_size for p in files}
                    listed: object = [
                        {"type": "file", "path": name, "size": size, "oid": COMMIT}
                        for name, size in sizes.items()
                    ]
                    if "/tree/" not in path:
                        siblings = [{"rfilename": n, "size": s} for n, s in sizes.items()]
                        listed = {"id": REPOSITORY, "sha": COMMIT, "siblings": siblings}
                    self.reply(200, json.dumps(listed).encode(), send)
                    return
                name = path.removeprefix(f"/{REPOSITORY}/resolve/").partition("/")[2]
                file = folder / name
                if not path.startswith(f"/{REPOSITORY}/resolve/") or not file.is_file():
                    self.reply(404, b"", send)
                    return
                body, wanted = file.read_bytes(), self.headers.get("Range")
                wanted = None if hub.ignores_range else wanted
                if wanted:
                    first, last = (int(part) for part in wanted.removeprefix("bytes=").split("-"))
                    body = body[first : last + 1]
                if send:
                    hub.sent.add(name)
                self.reply(206 if wanted else 200, body, send, file)

            def reply(self, status: int, body: bytes, send: bool, file: Path | None = None) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("X-Repo-Commit", COMMIT)
                if file:
                    digest = hashlib.sha256(file.read_bytes()).hexdigest()
                    self.send_header("ETag", f'"{digest}"')
                if hub.refusal:
                    self.send_header("X-Error-Code", hub.refusal[1])
                self.end_headers()
                pieces = range(0, len(body), 1 << 16) if send else ()
                for start in pieces:
                    try:
                        self.wfile.write(body[start : start + (1 << 16)])
                    except ConnectionError:
                        self.close_connection = True
                        return
                    if file and file.suffix == ".safetensors":
                        hub.weight_bytes += len(body[start : start + (1 << 16)])

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


def inspect(
    hub: Hub, tmp_path: Path, *extra: str, offline: bool = False
) -> subprocess.CompletedProcess[str]:
    """In a process of its own: the client reads its settings once."""
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.address,
        "HF_HOME": str(tmp_path / "hf"),
        "EDGECOMP_CACHE": str(tmp_path / "cache"),
        "HF_HUB_DISABLE_XET": "1",
    }
    environment.pop("HF_HUB_OFFLINE", None)
    if offline:
        environment["HF_HUB_OFFLINE"] = "1"
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
        "from edgecomp.models.reading import read_model\n"
        f"model = read_model({REPOSITORY!r}, weights=True)\n"
        "print(sum(f.stat().st_blocks for f in model.path.resolve().glob('*.safetensors')))"
    )
    done = inspect(hub, tmp_path, "-c", code)
    assert done.returncode == 0, done.stderr
    assert hub.weight_bytes > 2 * ROWS * WIDTH


def refused(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2
    assert "could not be fetched from the hub" in done.stderr and "Traceback" not in done.stderr
    return done.stderr.strip().splitlines()[-1]


def test_a_hub_that_does_not_answer_is_told_as_no_connection(hub: Hub, tmp_path: Path) -> None:
    """A14."""
    hub.server.shutdown()
    hub.server.server_close()
    for words in (("inspect", REPOSITORY), ("compress", REPOSITORY, "-o", str(tmp_path / "o"))):
        text = refused(inspect(hub, tmp_path, "-m", "edgecomp.cli", *words))
        assert "no connection" in text


@pytest.mark.parametrize(
    ("status", "code", "told"),
    [
        (403, "GatedRepo", "it is gated. Accept its terms"),
        (404, "RepoNotFound", "there is none of this name"),
        (401, "", "Run `hf auth login`"),
        (500, "", "it answered with status 500"),
        (429, "", "it answered with status 429"),
    ],
)
def test_what_the_hub_refuses_is_told_as_what_it_is(
    hub: Hub, tmp_path: Path, status: int, code: str, told: str
) -> None:
    """A14: only faults of the connection are blamed on it."""
    hub.refusal = (status, code)
    text = refused(inspect(hub, tmp_path, "-m", "edgecomp.cli", "inspect", REPOSITORY))
    assert told in text and "connection" not in text


def test_an_offline_client_is_told_so(hub: Hub, tmp_path: Path) -> None:  # A14
    done = inspect(hub, tmp_path, "-m", "edgecomp.cli", "inspect", REPOSITORY, offline=True)
    assert "HF_HUB_OFFLINE" in refused(done)


def test_a_mirror_that_ignores_ranges_sends_no_whole_shard(
    hub: Hub, model_folder: Path, tmp_path: Path
) -> None:  # A14
    hub.ignores_range = True
    file = model_folder / "model.safetensors"
    size = file.stat().st_size
    os.truncate(file, 100_000_000)
    try:
        done = inspect(hub, tmp_path, "-m", "edgecomp.cli", "inspect", REPOSITORY, "--json")
    finally:
        os.truncate(file, size)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["vocabulary"] == ROWS
    assert hub.weight_bytes < 30_000_000


def test_only_the_weights_that_are_read_and_small_files_are_fetched(
    model_folder: Path, tmp_path: Path
) -> None:  # P24
    folder = tmp_path / "repository"
    shutil.copytree(model_folder, folder)
    for name in (
        "consolidated.safetensors", "adapter_model.safetensors", "original/model.safetensors",
        "sub/config.json", "merges.txt", "tokenizer.model", "tf_model.h5", "model.gguf",
        "pytorch_model.bin",
    ):  # fmt: skip
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps({"name": name}))
    hub = Hub(folder)
    code = f"{READ}read_model({REPOSITORY!r}, weights=True)"
    done = inspect(hub, tmp_path, "-c", code)
    assert done.returncode == 0, done.stderr
    whole = {"config.json", "merges.txt", "tokenizer.model", "model.safetensors"}
    assert hub.sent == whole
    hub.server.shutdown()


def test_of_shards_those_that_the_index_names_are_fetched(
    model_folder: Path, tmp_path: Path
) -> None:  # P24
    folder = tmp_path / "repository"
    shutil.copytree(model_folder, folder)
    shard = "model-00001-of-00001.safetensors"
    (folder / "model.safetensors").rename(folder / shard)
    shutil.copyfile(folder / shard, folder / "old-00001-of-00001.safetensors")
    index = {"weight_map": dict.fromkeys(read_safetensors_header(folder / shard), shard)}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    for weights in (True, False):
        hub = Hub(folder)
        code = f"{READ}read_model({REPOSITORY!r}, weights={weights})"
        done = inspect(hub, tmp_path / str(weights), "-c", code)
        assert done.returncode == 0, done.stderr
        assert hub.sent == {"config.json", "model.safetensors.index.json", shard}
        hub.server.shutdown()
