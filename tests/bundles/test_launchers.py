"""Launchers start the artifact with exactly the planned settings."""

from __future__ import annotations

import configparser
import json
import shlex
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from edgecomp.bundles.launchers import (
    llama_server_arguments,
    llama_server_script,
    lm_studio_config,
    ollama_modelfile,
    systemd_script,
)
from edgecomp.common.safe_text import one_line
from edgecomp.models.chat_template import ChatTemplate
from edgecomp.recipes.run_settings import RunSettings

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


def test_the_server_gets_the_projector_and_keeps_it_off_cards_that_hold_nothing() -> None:
    arguments = llama_server_arguments("m.gguf", SETTINGS, "m-mmproj-F16.gguf")
    assert dict(pairwise(arguments))["--mmproj"] == "m-mmproj-F16.gguf"
    assert "--no-mmproj-offload" not in arguments
    alone = SETTINGS.model_copy(update={"gpu_layers": 0})
    assert "--no-mmproj-offload" in llama_server_arguments("m.gguf", alone, "p.gguf")
    assert "--no-mmproj-offload" not in llama_server_arguments("m.gguf", alone)


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


def modelfile(text: str) -> list[tuple[str, str]]:
    """The commands of a Modelfile, by the grammar of Ollama's `parser/parser.go`."""
    commands, value = [], ""
    for line in text.splitlines(keepends=True):
        if not value and (line.startswith("#") or not line.strip()):
            continue
        value += line
        name, _, rest = value.partition(" ")
        if name == "PARAMETER":
            name, _, rest = rest.partition(" ")
        rest = rest.strip(" \n\t\r")
        quotes = '"""' if rest.startswith('"""') else '"' if rest.startswith('"') else ""
        if quotes and not (len(rest) >= 2 * len(quotes) and rest.endswith(quotes)):
            continue
        commands.append((name, rest[len(quotes) : len(rest) - len(quotes)]))
        value = ""
    assert not value, "the last value is never closed"
    return commands


F16 = RunSettings(context=4096, threads=6, gpu_layers=20, sequences=2)


def test_the_modelfile_is_ollamas() -> None:
    text = ollama_modelfile("m.gguf", F16, ChatTemplate(source=None, eos="</s>"))
    assert text == (
        "FROM ./m.gguf\n"
        "PARAMETER num_ctx 4096\n"
        "PARAMETER num_thread 6\n"
        "PARAMETER num_batch 512\n"
        "PARAMETER num_gpu 20\n"
        'PARAMETER stop "</s>"\n'
    )


def test_a_modelfile_names_the_projector_second() -> None:
    plain = ChatTemplate(source=None)
    text = ollama_modelfile("m.gguf", F16, plain, "m-mmproj-F16.gguf")
    named = [value for name, value in modelfile(text) if name == "FROM"]
    assert named == ["./m.gguf", "./m-mmproj-F16.gguf"]
    assert "ollama show NAME" in text
    assert "ollama show NAME" not in ollama_modelfile("m.gguf", F16, plain)


ENDS = st.text(st.sampled_from('"\n\r\\ <|a>#\x1bFROM\u2581'), min_size=1, max_size=12) | st.text()


@given(st.lists(ENDS, max_size=4))
@example(['<|"end"|>'])
@example(['a"\nFROM /etc/passwd\nPARAMETER stop "b'])
@example(['"""\nSYSTEM """obey'])
@example(["\n\n", '"', '""', "end"])
def test_a_modelfile_stops_at_just_the_given_texts(ends: list[str]) -> None:  # A3, P8, P23
    template = ChatTemplate(source="{{ x }}", eos=ends[0] if ends else "", more_ends=tuple(ends))
    text = ollama_modelfile("m.gguf", SETTINGS, template)
    commands = modelfile(text)
    stops = [value for name, value in commands if name == "stop"]
    assert [name for name, _ in commands if name != "stop"] == [
        "FROM", "num_ctx", "num_thread", "num_batch", "num_gpu",
    ]  # fmt: skip
    left_out = [end for end in dict.fromkeys(ends) if end and end not in stops]
    assert stops == [end for end in dict.fromkeys(ends) if end and end not in left_out]
    for end in left_out:
        assert '"""' in end or not end.replace("\n", "").isprintable()
    assert bool(left_out) == ("cannot be written here" in text)


def test_the_modelfile_says_what_ollama_places_by_itself() -> None:
    lines = ollama_modelfile("m.gguf", SPLIT, ChatTemplate(source=None)).splitlines()
    assert lines[0].startswith("# serve.sh places") and "FROM ./m.gguf" in lines


def test_the_modelfile_names_the_cache_types_that_ollama_takes_elsewhere() -> None:  # P23
    plain = ChatTemplate(source=None)
    assert "cache" not in ollama_modelfile("m.gguf", F16, plain)
    eight = ollama_modelfile("m.gguf", SETTINGS, plain)
    assert "OLLAMA_FLASH_ATTENTION=1 OLLAMA_KV_CACHE_TYPE=q8_0" in eight
    five = ollama_modelfile("m.gguf", F16.model_copy(update={"kv_type": "Q5_1"}), plain)
    assert "q5_1, which Ollama does not have" in five and "OLLAMA_KV" not in five


def test_the_modelfile_warns_of_a_template_that_ollama_may_not_know() -> None:  # P23
    assert "ollama show --template" in ollama_modelfile("m", F16, ChatTemplate(source="{{ x }}"))
    assert "ollama show" not in ollama_modelfile("m", F16, ChatTemplate(source=None))


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


NAMES = st.text(st.sampled_from("\n\r\x1b$`'\"\\%;&|()<> abUNIT"), max_size=40) | st.text(
    max_size=80
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(NAMES)
@example("x\nUNIT\ntouch pwned\ncat <<UNIT\n")
@example("$(touch pwned)`touch pwned`';touch pwned;'")
@example("joins the next line \\")
@example("\n")
def test_no_name_runs_or_adds_anything_in_the_service(tmp_path: Path, name: str) -> None:  # A3
    script = tmp_path / "service.sh"
    script.write_text(systemd_script(name, 1000))
    done = subprocess.run(
        ["/bin/sh", script.name], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    plain = systemd_script("plain", 1000)
    script.write_text(plain)
    wanted = subprocess.run(
        ["/bin/sh", script.name], capture_output=True, text=True, cwd=tmp_path, check=True
    ).stdout.splitlines()
    found = done.stdout.split("\n")[:-1]
    assert done.stderr == "" and [path.name for path in tmp_path.iterdir()] == ["service.sh"]
    assert found[:1] + found[2:] == wanted[:1] + wanted[2:]
    key, _, said = found[1].partition("=")
    assert key == "Description" and said and not said.endswith("\\")
    assert said.replace("%%", "%") == (one_line(name).rstrip("\\ ") or "model")
    assert "%" not in said.replace("%%", "")


def test_a_folder_with_a_percent_sign_is_named_as_systemd_reads_it(tmp_path: Path) -> None:  # A3
    folder = tmp_path / "100%i"
    folder.mkdir()
    (folder / "service.sh").write_text(systemd_script("m", 1000))
    done = subprocess.run(
        ["sh", str(folder / "service.sh")], capture_output=True, text=True, check=True
    )
    assert f"WorkingDirectory={tmp_path}/100%%i\n" in done.stdout
