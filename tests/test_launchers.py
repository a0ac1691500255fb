"""Launchers start the artifact with exactly the planned settings."""

from __future__ import annotations

import configparser
import json
import shlex
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

from edgecomp.chat_template import ChatTemplate
from edgecomp.launchers import (
    llama_server_arguments,
    llama_server_script,
    lm_studio_config,
    ollama_modelfile,
    systemd_script,
)
from edgecomp.runtimes.settings import RunSettings

SETTINGS = RunSettings(context=4096, threads=6, kv_type="Q8_0", gpu_layers=20, sequences=2)

SPLIT = SETTINGS.model_copy(
    update={
        "tensor_split": (11, 0, 9),
        "cpu_expert_layers": 7,
        "kv_on_gpu": False,
        "memory_lock": True,
    }
)


def test_the_server_gets_every_setting() -> None:
    arguments = llama_server_arguments("a model.gguf", SETTINGS)
    pairs = dict(zip(arguments[::2], arguments[1::2], strict=False))
    assert pairs["--model"] == "a model.gguf"
    assert pairs["--ctx-size"] == "4096" and pairs["--threads"] == "6"
    assert pairs["--n-gpu-layers"] == "20" and pairs["--parallel"] == "2"
    assert pairs["--cache-type-k"] == pairs["--cache-type-v"] == "q8_0"
    assert pairs["--batch-size"] == pairs["--ubatch-size"] == "512"
    assert arguments[-1] == "--no-mmap"
    assert "--tensor-split" not in arguments and "--n-cpu-moe" not in arguments


def test_the_server_places_layers_experts_and_cache_as_planned() -> None:
    arguments = llama_server_arguments("m.gguf", SPLIT)
    pairs = dict(pairwise(arguments))
    assert pairs["--split-mode"] == "layer" and pairs["--tensor-split"] == "11,0,9"
    assert pairs["--n-cpu-moe"] == "7"
    assert {"--no-kv-offload", "--mlock"} <= set(arguments)


def test_the_script_is_valid_shell_and_hands_arguments_on(tmp_path: Path) -> None:
    """Run with a server that prints what it was given."""
    script = tmp_path / "serve.sh"
    script.write_text(llama_server_script("it's a model.gguf", SETTINGS))
    server = tmp_path / "llama-server"
    server.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    server.chmod(0o755)
    done = subprocess.run(
        ["sh", str(script), "--verbose"],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
    )
    given = done.stdout.splitlines()
    assert given[:2] == ["--model", "it's a model.gguf"] and given[-1] == "--verbose"
    assert "127.0.0.1" in given
    assert shlex.split(" ".join(shlex.quote(a) for a in given)) == given


def test_the_modelfile_is_ollamas() -> None:
    text = ollama_modelfile("m.gguf", SETTINGS, ChatTemplate(source=None, eos="</s>"))
    assert text == (
        "FROM ./m.gguf\n"
        "PARAMETER num_ctx 4096\n"
        "PARAMETER num_thread 6\n"
        "PARAMETER num_batch 512\n"
        "PARAMETER num_gpu 20\n"
        'PARAMETER stop "</s>"\n'
    )


def test_the_modelfile_says_what_ollama_places_by_itself() -> None:
    lines = ollama_modelfile("m.gguf", SPLIT, ChatTemplate(source=None)).splitlines()
    assert lines[0].startswith("# serve.sh places") and "FROM ./m.gguf" in lines


def test_lm_studio_gets_every_setting() -> None:
    config = json.loads(lm_studio_config(SETTINGS, layers=39))
    load = {field["key"].rsplit(".", 1)[-1]: field["value"] for field in config["load"]["fields"]}
    assert load["contextLength"] == 4096 and load["numParallelSessions"] == 2
    assert load["cpuThreadPoolSize"] == 6 and load["offloadRatio"] == 0.5
    assert load["kCacheQuantizationType"] == {"checked": True, "value": "q8_0"}
    assert load["flashAttention"] is True and load["tryMmap"] is False
    split = json.loads(lm_studio_config(SPLIT, layers=28))
    load = {field["key"]: field["value"] for field in split["load"]["fields"]}
    assert load["llm.load.numCpuExpertLayersRatio"] == 0.25
    assert load["llm.load.offloadKVCacheToGpu"] is False
    assert load["llm.load.llama.keepModelInMemory"] is True


def test_the_service_runs_the_bundles_own_script_where_the_bundle_lies(tmp_path: Path) -> None:
    folder = tmp_path / "my bundle"
    folder.mkdir()
    script = folder / "service.sh"
    script.write_text(systemd_script("A $1 `model` at 100%", 1000))
    done = subprocess.run(["sh", str(script)], capture_output=True, text=True, check=True)
    unit = configparser.ConfigParser(interpolation=None)
    unit.read_string(done.stdout)
    assert unit["Unit"]["Description"] == "A $1 `model` at 100%%"
    assert unit["Service"]["WorkingDirectory"] == str(folder)
    assert unit["Service"]["ExecStart"] == "/bin/sh serve.sh"
    assert unit["Service"]["MemoryMax"] == "1500"
    if analyze := shutil.which("systemd-analyze"):
        (folder / "serve.sh").touch(mode=0o755)
        path = tmp_path / "model.service"
        path.write_text(done.stdout)
        checked = subprocess.run([analyze, "verify", str(path)], capture_output=True, text=True)
        assert str(path) not in checked.stderr and checked.returncode == 0, checked.stderr
