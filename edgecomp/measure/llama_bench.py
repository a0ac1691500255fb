"""Speed as llama.cpp's own `llama-bench` measures it, where no Python runs: on a phone."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, TypeAdapter, ValidationError

from edgecomp.common.errors import RemoteFailed
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.formats.presets import LLAMA_CACHE_TYPES
from edgecomp.recipes.run_settings import RunSettings

PROMPT_TOKENS, OUTPUT_TOKENS, REPEATS = 512, 128, 5


class BenchedSpeed(FrozenModel):
    """One test, repeated: a prompt that is read, or tokens that are written, never both."""

    prompt_tokens: int
    output_tokens: int
    depth: int
    """Tokens that were in the context before."""

    tokens_per_second: tuple[float, ...]
    """One figure a repeat."""

    mean_tokens_per_second: float
    standard_deviation: float


class LlamaBench(FrozenModel):
    """What llama-bench says of one artifact. It measures neither tokenization nor a server's load,
    and no memory."""

    schema_version: Literal[1] = 1
    artifact: str
    artifact_bytes: int
    device: str
    """The address it was reached by."""

    processor: str
    backends: str
    runtime: str
    threads: int
    settings: RunSettings | None
    """The recipe's; None where the artifact has no recipe and llama.cpp's own defaults hold."""

    speeds: tuple[BenchedSpeed, ...]


class _Row(BaseModel):
    """The fields that are read of llama-bench's many, under its own names."""

    build_commit: str
    build_number: int
    cpu_info: str
    backends: str
    n_threads: int
    n_prompt: int
    n_gen: int
    n_depth: int = 0
    avg_ts: float
    stddev_ts: float
    samples_ts: tuple[float, ...]


def bench_arguments(model_file: str, settings: RunSettings | None) -> list[str]:
    """llama-bench's arguments: a prompt and an output of usual lengths, within the context."""
    context = settings.context if settings else PROMPT_TOKENS
    arguments = [
        "-m", model_file,
        "-p", str(min(PROMPT_TOKENS, context)),
        "-n", str(min(OUTPUT_TOKENS, context)),
        "-r", str(REPEATS),
        "-o", "json",
    ]  # fmt: skip
    if settings:
        arguments += [
            "-t", str(settings.threads),
            "-ub", str(settings.micro_batch),
            "-ngl", str(settings.gpu_layers),
            "-ctk", LLAMA_CACHE_TYPES[settings.key_type],
            "-ctv", LLAMA_CACHE_TYPES[settings.value_type],
            "-fa", "on" if settings.flash_attention else "off",
        ]  # fmt: skip
        if settings.tensor_split:
            arguments += ["-ts", "/".join(str(share) for share in settings.tensor_split)]
        if settings.cpu_expert_layers:
            arguments += ["-ncmoe", str(settings.cpu_expert_layers)]
        if not settings.kv_on_gpu:
            arguments += ["-nkvo", "1"]
    return arguments


def read_bench(
    output: str, artifact: str, artifact_bytes: int, device: str, settings: RunSettings | None
) -> LlamaBench:
    """The value of `llama-bench -o json`'s output. Raises RemoteFailed."""
    try:
        rows = TypeAdapter(list[_Row]).validate_json(output)
    except ValidationError as error:
        raise RemoteFailed(
            f"llama-bench on {device} printed no list of results that can be read: "
            f"{output.strip()[:200] or 'nothing'}. Give a newer build of llama.cpp."
        ) from error
    if not rows:
        raise RemoteFailed(f"llama-bench on {device} ran no test.")
    return LlamaBench(
        artifact=artifact,
        artifact_bytes=artifact_bytes,
        device=device,
        processor=rows[0].cpu_info,
        backends=rows[0].backends,
        runtime=f"llama.cpp build {rows[0].build_number} ({rows[0].build_commit})",
        threads=rows[0].n_threads,
        settings=settings,
        speeds=tuple(
            BenchedSpeed(
                prompt_tokens=row.n_prompt,
                output_tokens=row.n_gen,
                depth=row.n_depth,
                tokens_per_second=row.samples_ts,
                mean_tokens_per_second=row.avg_ts,
                standard_deviation=row.stddev_ts,
            )
            for row in rows
        ),
    )
