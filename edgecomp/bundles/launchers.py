"""Ready commands that start the artifact as it was planned and measured."""

from __future__ import annotations

import json
import shlex

from edgecomp.common.safe_text import one_line
from edgecomp.formats.presets import LLAMA_CACHE_TYPES
from edgecomp.models.chat_template import ChatTemplate
from edgecomp.recipes.run_settings import RunSettings

OLLAMA_CACHE_TYPES = ("q8_0", "q4_0")
"""What Ollama's cache may be, beside f16."""

PROJECTOR_OF_OLLAMA = [
    "The second FROM reads pictures or sounds. Not every version of Ollama takes it for every",
    "family: look whether `ollama show NAME` lists vision or audio. If it does not, use serve.sh.",
]


def llama_server_arguments(
    model_file: str, settings: RunSettings, projector_file: str | None = None
) -> list[str]:
    """llama-server's arguments for these settings; `projector_file` reads pictures or sounds."""
    arguments = [
        "--model", model_file,
        "--ctx-size", str(settings.context),
        "--threads", str(settings.threads),
        "--batch-size", str(settings.micro_batch),
        "--ubatch-size", str(settings.micro_batch),
        "--parallel", str(settings.sequences),
        "--n-gpu-layers", str(settings.gpu_layers),
        "--cache-type-k", LLAMA_CACHE_TYPES[settings.key_type],
        "--cache-type-v", LLAMA_CACHE_TYPES[settings.value_type],
        "--flash-attn", "on" if settings.flash_attention else "off",
    ]  # fmt: skip
    if settings.tensor_split:
        shares = ",".join(str(share) for share in settings.tensor_split)
        arguments += ["--split-mode", "layer", "--tensor-split", shares]
    if settings.cpu_expert_layers:
        arguments += ["--n-cpu-moe", str(settings.cpu_expert_layers)]
    if not settings.kv_on_gpu:
        arguments.append("--no-kv-offload")
    if projector_file:
        arguments += ["--mmproj", projector_file]
        # A card that the plan puts nothing on has no room for it.
        arguments += [] if settings.gpu_layers else ["--no-mmproj-offload"]
    if settings.memory_lock:
        arguments.append("--mlock")
    return arguments if settings.memory_map else [*arguments, "--no-mmap"]


def llama_server_script(
    model_file: str, settings: RunSettings, projector_file: str | None = None
) -> str:
    """A shell script that serves the artifact on this machine's own address only."""
    arguments = llama_server_arguments(model_file, settings, projector_file)
    command = shlex.join(["llama-server", *arguments])
    return (
        "#!/bin/sh\n"
        "# Serves the model on http://127.0.0.1:8080; further arguments are passed on.\n"
        'cd "$(dirname "$0")" || exit 1\n'
        f'exec {command} --host 127.0.0.1 --port 8080 "$@"\n'
    )


def ollama_modelfile(
    model_file: str,
    settings: RunSettings,
    template: ChatTemplate,
    projector_file: str | None = None,
) -> str:
    """An Ollama Modelfile; what the plan holds and Ollama has no words for stands in comments."""
    found = _beyond_ollama(settings, template) + (PROJECTOR_OF_OLLAMA if projector_file else [])
    lines = [f"# {line}" for line in found]
    lines += [
        f"FROM ./{model_file}",
        *([f"FROM ./{projector_file}"] if projector_file else []),
        f"PARAMETER num_ctx {settings.context}",
        f"PARAMETER num_thread {settings.threads}",
        f"PARAMETER num_batch {settings.micro_batch}",
        f"PARAMETER num_gpu {settings.gpu_layers}",
    ]
    for end in template.ends:
        quoted = ollama_string(end)
        if quoted is not None:
            lines.append(f"PARAMETER stop {quoted}")
    return "\n".join(lines) + "\n"


def ollama_string(text: str) -> str | None:
    """`text` as a string of a Modelfile, or None where its grammar cannot express it.

    Ollama's parser (`parser/parser.go`) knows no escapes: a value goes on over line ends until its
    quotes, one or three, are closed before a line end; characters that are not printable vanish.
    """
    if not text or not all(c.isprintable() or c == "\n" for c in text):
        return None
    if '"' not in text:
        return f'"{text}"'
    return None if '"""' in text else f'"""{text}"""'


def _beyond_ollama(settings: RunSettings, template: ChatTemplate) -> list[str]:
    found = []
    if settings.tensor_split or settings.cpu_expert_layers or not settings.kv_on_gpu:
        found += [
            "serve.sh places layers, experts and cache as planned; Ollama has no words",
            "for that and places them itself.",
        ]
    types = {LLAMA_CACHE_TYPES[kind] for kind in (settings.key_type, settings.value_type)}
    cache = " and ".join(sorted(types, reverse=True))
    if cache in OLLAMA_CACHE_TYPES:
        found += [
            f"The plan's KV cache is {cache}. Ollama takes that from the server's environment",
            f"alone: OLLAMA_FLASH_ATTENTION=1 OLLAMA_KV_CACHE_TYPE={cache} ollama serve",
        ]
    elif cache != "f16":
        found += [
            f"The plan's KV cache is {cache}, which Ollama does not have: it keeps f16 and needs",
            "more memory than planned. serve.sh does as planned.",
        ]
    if template.source is not None:
        found += [
            "Ollama takes the chat template from the GGUF only where it knows it. Look at",
            "`ollama show --template NAME`: where that says no more than {{ .Prompt }}, it does",
            "not, and answers ramble. Then write the TEMPLATE here, or use serve.sh.",
        ]
    if any(ollama_string(end) is None for end in template.ends):
        found.append("One text that ends an answer cannot be written here; serve.sh knows it.")
    return found


def lm_studio_config(settings: RunSettings, layers: int) -> str:
    """LM Studio's settings of one model (JSON): saved as PUBLISHER/FOLDER/FILE.gguf.json below
    `~/.lmstudio/.internal/user-concrete-model-default-config`, they hold whenever it is loaded.

    `layers`: decoder layers of the model; LM Studio takes the share of them that is on the GPU.
    """
    keys, values = (
        {"checked": True, "value": LLAMA_CACHE_TYPES[kind]}
        for kind in (settings.key_type, settings.value_type)
    )
    load = {
        "llm.load.contextLength": settings.context,
        "llm.load.numParallelSessions": settings.sequences,
        "llm.load.llama.cpuThreadPoolSize": settings.threads,
        "llm.load.llama.evalBatchSize": settings.micro_batch,
        "llm.load.llama.acceleration.offloadRatio": min(1.0, settings.gpu_layers / (layers + 1)),
        "llm.load.numCpuExpertLayersRatio": settings.cpu_expert_layers / layers,
        "llm.load.offloadKVCacheToGpu": settings.kv_on_gpu,
        "llm.load.llama.keepModelInMemory": settings.memory_lock,
        "llm.load.llama.flashAttention": settings.flash_attention,
        "llm.load.llama.tryMmap": settings.memory_map,
        "llm.load.llama.kCacheQuantizationType": keys,
        "llm.load.llama.vCacheQuantizationType": values,
    }
    fields = [{"key": key, "value": value} for key, value in load.items()]
    config = {"preset": "", "operation": {"fields": []}, "load": {"fields": fields}}
    return json.dumps(config, indent=2) + "\n"


def systemd_script(model_name: str, peak_memory_bytes: int) -> str:
    """A shell script that prints a systemd unit for the bundle where it lies: systemd wants
    absolute paths, which only the device knows.

    The service may take half as much again as the measured peak before systemd ends it.
    """
    # systemd expands %, and a backslash at the end would join the next line.
    name = one_line(model_name).replace("%", "%%").rstrip("\\ ") or "model"
    before = ["[Unit]", f"Description={name}", "After=network.target", "", "[Service]"]
    after = [
        "ExecStart=/bin/sh serve.sh",
        "Restart=on-failure",
        f"MemoryMax={peak_memory_bytes * 3 // 2}",
        "NoNewPrivileges=yes",
        "PrivateTmp=yes",
        "ProtectSystem=strict",
        "ProtectHome=read-only",
        "",
        "[Install]",
        "WantedBy=default.target",
    ]
    # Arguments in single quotes: the shell expands nothing in them, and no text can end them.
    return (
        "#!/bin/sh\n"
        "# Prints a unit: ./service.sh > ~/.config/systemd/user/NAME.service, then\n"
        "# systemctl --user enable --now NAME\n"
        'here=$(cd "$(dirname "$0")" && pwd) || exit 1\n'
        "here=$(printf '%s' \"$here\" | sed 's/%/%%/g')\n"
        f"printf '%s\\n' {shlex.join(before)} \\\n"
        '    "WorkingDirectory=$here" \\\n'
        f"    {shlex.join(after)}\n"
    )
