"""The command line: parses, calls the core, prints. Imports nothing heavy until a command runs.

Results go to stdout, everything else to stderr. With --json, stdout is one versioned object; its
schema is printed by `edgecomp schema`.
"""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from edgecomp import __version__
from edgecomp.common.errors import EdgecompError
from edgecomp.common.safe_text import printable_lines
from edgecomp.common.tasks import Effort, KvType, Mix, MixChoice, Rounding, Task

if TYPE_CHECKING:
    from datetime import datetime

    from edgecomp.common.frozen_model import FrozenModel
    from edgecomp.jobs.fleet_run import FleetStatus
    from edgecomp.processes.limits import Limits
    from edgecomp.recipes.constraints import Constraints
    from edgecomp.recipes.recipe import EvaluationSettings

USER_ERROR = 2
UNHEALTHY = 1
NOTHING_FITS = 3
INTERRUPTED = 130
OBJECTS_BETWEEN_COLLECTIONS = 50_000
NARROWEST_WIDTH = 80
PIPED_WIDTH = 160

app = typer.Typer(
    name="edgecomp",
    help="Fit a language model onto one device, and prove what it kept.",
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
devices = typer.Typer(
    help="Devices: profiles, this machine, its calibration.", no_args_is_help=True
)
app.add_typer(devices, name="devices")
recipes = typer.Typer(help="Recipes: what a run does, as a file.", no_args_is_help=True)
app.add_typer(recipes, name="recipe")
fleets = typer.Typer(
    help="Fleets: the fewest artifacts that serve many devices.", no_args_is_help=True
)
app.add_typer(fleets, name="fleet")

Model = Annotated[
    str, typer.Argument(help="A Hugging Face folder, a GGUF file, a hub id, or demo.")
]
Artifact = Annotated[
    str, typer.Argument(help="A GGUF file, an ONNX or Hugging Face folder, a bundle, or demo.")
]
SuiteName = Literal["quick", "standard", "full"]
OnlyPerplexity = Literal["perplexity"]
ResultsOrder = Literal["time", "loss", "speed", "size"]
Device = Annotated[str, typer.Option(help="A profile's name, or auto for this machine.")]
Json = Annotated[bool, typer.Option("--json", help="Print one versioned JSON object on stdout.")]
TaskOption = Annotated[Task, typer.Option(help="The capability that counts first.")]
Context = Annotated[int | None, typer.Option(min=1, help="Tokens of context to serve.")]
MaxMemory = Annotated[str | None, typer.Option(help="Peak memory, such as 6GB.")]
MaxSize = Annotated[str | None, typer.Option(help="Size of the file, such as 100MB.")]
MinSpeed = Annotated[float | None, typer.Option(help="Decoded tokens a second, at least.")]
Data = Annotated[
    Path | None,
    typer.Option(
        envvar="EDGECOMP_DATA",
        exists=True,
        file_okay=False,
        help="Folder of evaluation and calibration data (default: what ships with us).",
    ),
]
RoundingOption = Annotated[
    Rounding | None, typer.Option(help="Who rounds (default: awq+gptq where it can).")
]
Depth = Annotated[str | None, typer.Option(help="Blocks to keep: a share or a count, as 50%.")]
Width = Annotated[str | None, typer.Option(help="FFN neurons of each block to keep, as 60%.")]
Distill = Annotated[
    str | None, typer.Option(help="Train what is left on the source: 10min, 2h or 500steps.")
]
Student = Annotated[
    str | None, typer.Option(help="A smaller checkpoint with the same tokenizer, to distil into.")
]
TensorMix = Annotated[
    Mix | None,
    typer.Option(help="Types by tensor: best in the format's size, best in the limits, by a rule."),
]
FitMix = Annotated[
    MixChoice | None, typer.Option(help="As in compress (default: same-size below 8 bits).")
]
EffortOption = Annotated[
    Effort,
    typer.Option(
        help="best chooses codes by what errors do to predictions, then tunes scales and norms."
    ),
]
KvTypeOption = Annotated[
    KvType, typer.Option(help="Type of the KV cache; the artifact is judged with it.")
]
RuntimeName = Annotated[
    str,
    typer.Option(
        help="What will run it: llama.cpp, onnx or transformers; fit takes several: onnx,llama.cpp."
    ),
]
ProviderName = Annotated[
    str,
    typer.Option(
        help="ONNX Runtime's execution provider: cpu, cuda, dml, webgpu, qnn, coreml, openvino, or "
        "auto for the one that fits the device."
    ),
]
MemoryLimit = Annotated[
    str | None, typer.Option(help="Run as if there were only so much memory, such as 4GB.")
]
Cpus = Annotated[int | None, typer.Option(min=1, help="Run on so many processors only.")]
Items = Annotated[int | None, typer.Option(min=1, help="Questions of each benchmark, at most.")]
Budget = Annotated[
    str | None, typer.Option(help="Time for questions, as 90s, 10min or 2h (default: 10min).")
]
Tolerate = Annotated[
    str | None,
    typer.Option(help="Points that may be lost, as reasoning=2,safety=1 (default: 5, safety 3)."),
]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Folder for the bundle.")]


def main() -> None:
    """Run the command line; the process's exit code says how it ended."""
    # Plans are tens of thousands of values that live to the end: looking through them for cycles
    # after every 700 new ones took a seventh of a large comparison.
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        app(args=arguments)
    except EdgecompError as error:
        if debug:
            raise
        # Names out of files stand in it; a terminal would obey what they hold.
        print(f"edgecomp: {printable_lines(str(error))}", file=sys.stderr)
        raise SystemExit(USER_ERROR) from None
    except SystemExit as ended:
        # Typer turns Ctrl-C into this exit code.
        if ended.code == INTERRUPTED:
            print(
                "edgecomp: stopped. Finished stages are kept; the same command goes on from there.",
                file=sys.stderr,
            )
        raise


def _version(wanted: bool) -> None:
    if wanted:
        print(f"edgecomp {__version__}")
        raise typer.Exit


@app.callback(epilog="--debug, anywhere, shows the traceback of an error.")
def _options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        if sys.stdin.isatty() and sys.stdout.isatty():
            tui()
        else:
            print(context.get_help())


def _show(value: FrozenModel, as_json: bool, render: Any) -> None:
    if as_json:
        print(value.model_dump_json(indent=2))
        return
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PIPED_WIDTH)
    elif console.width < NARROWEST_WIDTH:
        # The terminal breaks the lines; a narrower table would lose figures.
        console = Console(highlight=False, width=NARROWEST_WIDTH)
    console.print(render(value))


def _budget_seconds(budget: str | None) -> float | None:
    from edgecomp.common.quantity import parse_duration

    seconds = parse_duration(budget) if budget else None
    if seconds == 0:
        raise typer.BadParameter("--budget takes a time above 0.")
    return seconds


def _evaluation_settings(
    items: int | None, budget: str | None, tolerate: str | None
) -> EvaluationSettings:
    from edgecomp.recipes.recipe import EvaluationSettings
    from edgecomp.recipes.tolerances import parse_tolerances

    settings = EvaluationSettings(items=items, tolerances=parse_tolerances(tolerate or ""))
    seconds = _budget_seconds(budget)
    return settings.model_copy(update={"budget_seconds": seconds}) if seconds else settings


def _constraints(
    task: Task,
    context: int | None,
    max_memory: str | None,
    max_size: str | None,
    min_speed: float | None,
    kv_type: KvType,
) -> Constraints:
    from edgecomp.common.quantity import parse_size
    from edgecomp.recipes.constraints import Constraints

    limits = {
        "--max-memory": parse_size(max_memory) if max_memory else None,
        "--max-size": parse_size(max_size) if max_size else None,
        "--min-speed": min_speed,
    }
    for option, value in limits.items():
        if value is not None and not 0 < value < float("inf"):
            raise typer.BadParameter(f"{option} takes a number above 0.")
    return Constraints.model_validate(
        {
            "task": task,
            "context": context,
            "max_memory_bytes": limits["--max-memory"],
            "max_size_bytes": limits["--max-size"],
            "min_decode_tokens_per_second": min_speed,
            "kv_type": kv_type,
        }
    )


def _limits(memory_limit: str | None, cpus: int | None) -> Limits | None:
    from edgecomp.common.quantity import parse_size
    from edgecomp.processes.limits import Limits

    if memory_limit is None and cpus is None:
        return None
    return Limits(memory_bytes=parse_size(memory_limit) if memory_limit else None, cpus=cpus)


@app.command()
def inspect(model: Model, json: Json = False) -> None:
    """Show what a model is, from its headers alone."""
    from edgecomp.models.reading import read_model
    from edgecomp.terminal.tables import model_table

    _show(read_model(model), json, model_table)


@app.command()
def plan(
    model: Model,
    device: Device = "auto",
    task: TaskOption = "general",
    context: Context = None,
    max_memory: MaxMemory = None,
    max_size: MaxSize = None,
    min_speed: MinSpeed = None,
    runtime: RuntimeName = "llama.cpp",
    provider: ProviderName = "cpu",
    kv_type: KvTypeOption = "F16",
    depth: Depth = None,
    width: Width = None,
    distill: Distill = None,
    student: Student = None,
    every: Annotated[
        bool, typer.Option("--all", help="Show every candidate, and why others are out.")
    ] = False,
    json: Json = False,
) -> None:
    """Show what to make for a device and why, what else one could want, and what it costs.

    Exits 3 where nothing fits.
    """
    from edgecomp.devices.finding import find_device
    from edgecomp.models.reading import read_model
    from edgecomp.planning.planner import make_plan
    from edgecomp.planning.recipe_of_plan import Choices
    from edgecomp.recipes.stages import shrinking_stages
    from edgecomp.runtimes.protocol import find_runtime
    from edgecomp.terminal.plan_tables import plan_answer, plan_table

    constraints = _constraints(task, context, max_memory, max_size, min_speed, kv_type)
    find_runtime(runtime)
    stages = shrinking_stages(depth, width, distill, student)
    made = make_plan(
        read_model(model),
        find_device(device),
        constraints,
        choices=Choices(stages=stages, runtime=runtime, provider=provider),
    )
    _show(made, json, plan_table if every else plan_answer)
    if made.chosen is None:
        raise typer.Exit(NOTHING_FITS)


@app.command()
def fit(
    model: Model,
    device: Device = "auto",
    task: TaskOption = "general",
    context: Context = None,
    max_memory: MaxMemory = None,
    max_size: MaxSize = None,
    min_speed: MinSpeed = None,
    kv_type: KvTypeOption = "F16",
    data: Data = None,
    output: Output = None,
    items: Items = None,
    budget: Budget = None,
    tolerate: Tolerate = None,
    method: RoundingOption = None,
    mix: FitMix = None,
    effort: EffortOption = "default",
    runtime: RuntimeName = "llama.cpp",
    provider: ProviderName = "cpu",
    json: Json = False,
) -> None:
    """Make the best artifact for a device, prove it, and bundle it."""
    from edgecomp.jobs.fit import FitRequest
    from edgecomp.jobs.fit import fit as carry_out
    from edgecomp.jobs.fit_several import fit_several, named_runtimes
    from edgecomp.terminal.progress import progress_bars
    from edgecomp.terminal.report_tables import summary

    wanted = FitRequest(
        model=model,
        device=device,
        constraints=_constraints(task, context, max_memory, max_size, min_speed, kv_type),
        evaluation=_evaluation_settings(items, budget, tolerate),
        rounding=method,
        mix=mix,
        effort=effort,
        data=data,
        runtime=runtime,
        provider=provider,
    )
    runtimes = named_runtimes(runtime)
    if len(runtimes) > 1:
        if mix:
            raise typer.BadParameter("--mix is for one runtime, not for several.")
        from edgecomp.terminal.result_tables import comparison_table

        with progress_bars() as listen:
            compared = fit_several(wanted, runtimes, output, listen)
        _show(compared, json, comparison_table)
        return
    with progress_bars() as listen:
        fitted = carry_out(wanted, output, listen)
    _show(fitted, json, summary)


@app.command()
def run(
    recipe: Annotated[Path, typer.Argument(help="A recipe, such as a bundle's recipe.yaml.")],
    data: Data = None,
    output: Output = None,
    json: Json = False,
) -> None:
    """Carry out a recipe: the same inputs give the same bytes."""
    from edgecomp.jobs.fit import fit_recipe
    from edgecomp.recipes.recipe import read_recipe
    from edgecomp.terminal.progress import progress_bars
    from edgecomp.terminal.report_tables import summary

    with progress_bars() as listen:
        fitted = fit_recipe(read_recipe(recipe), output, data, listen)
    _show(fitted, json, summary)


@app.command()
def compress(
    model: Model,
    method: Annotated[
        str | None,
        typer.Option(
            help="awq+gptq (the default where codes are chosen), gptq, awq, rtn, llama.cpp, "
            "sparsegpt, wanda, magnitude."
        ),
    ] = None,
    format: Annotated[
        str, typer.Option(help="Such as Q4_K_M, gptq-int4-g128, onnx-int4-32 or onnx-optimum-int8.")
    ] = "Q4_K_M",
    sparsity: Annotated[str, typer.Option(help="For pruning: 50% or 2:4.")] = "50%",
    depth: Depth = None,
    width: Width = None,
    distill: Distill = None,
    student: Student = None,
    max_size: MaxSize = None,
    max_memory: MaxMemory = None,
    context: Context = None,
    mix: TensorMix = None,
    provider: ProviderName = "cpu",
    effort: EffortOption = "default",
    task: TaskOption = "general",
    calibration: Annotated[
        Path | None, typer.Option(help="A YAML file with a mix (default: the task's own mix).")
    ] = None,
    any_calibration: Annotated[
        bool, typer.Option(help="Go on although the calibration does not match the task.")
    ] = False,
    data: Data = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the result.")] = Path(
        "compressed"
    ),
    json: Json = False,
) -> None:
    """Compress by one method and check the artifact, without evaluating it.

    In this order: blocks and neurons taken out, weights pruned, distilled, rounded.
    """
    from edgecomp.jobs.kept_results import keep_compressed
    from edgecomp.making.compress_job import CompressionRequest, compression_recipe
    from edgecomp.making.compress_job import compress as carry_out
    from edgecomp.recipes.calibration_mix import preset_mix, read_mix
    from edgecomp.recipes.stages import shrinking_stages
    from edgecomp.terminal.progress import progress_bars
    from edgecomp.terminal.report_tables import compressed_table

    texts = read_mix(calibration) if calibration else preset_mix(task)
    wanted = CompressionRequest(
        model=model,
        method=method,
        format=format,
        sparsity=sparsity,
        constraints=_constraints(task, context, max_memory, max_size, None, "F16"),
        calibration=texts,
        any_calibration=any_calibration,
        stages=tuple(shrinking_stages(depth, width, distill, student)),
        mix=mix,
        provider=provider,
        effort=effort,
    )
    recipe = compression_recipe(wanted)
    with progress_bars() as listen:
        made = carry_out(recipe, output, data, listen)
        keep_compressed(made, recipe, listen)
    _show(made, json, compressed_table)


@recipes.command("show")
def recipe_show(path: Annotated[Path, typer.Argument(metavar="FILE")]) -> None:
    """Print a recipe as JSON, defaults filled in."""
    from edgecomp.recipes.recipe import read_recipe

    print(read_recipe(path).model_dump_json(indent=2))


@recipes.command("validate")
def recipe_validate(path: Annotated[Path, typer.Argument(metavar="FILE")]) -> None:
    """Check a recipe; a fault is named by line and field."""
    from edgecomp.recipes.recipe import read_recipe

    recipe = read_recipe(path)
    print(f"{path}: valid, {recipe.format} of {recipe.model} by {recipe.rounding}.")


Address = Annotated[
    str | None,
    typer.Option(help="A Ray cluster's, to make artifacts on its nodes: auto, local, HOST:PORT."),
]
FleetFolder = Annotated[Path, typer.Argument(help="A folder that fleet run made.")]
FleetFile = Annotated[Path, typer.Argument(metavar="FILE", help="Models, devices, tasks, limits.")]


@fleets.command("plan")
def fleet_plan(path: FleetFile, json: Json = False) -> None:
    """Show the fewest artifacts that serve every device, and what one more or fewer changes.

    Exits 3 where a device cannot be served.
    """
    from edgecomp.jobs.fleet_plan import plan_fleet
    from edgecomp.recipes.fleet import read_fleet
    from edgecomp.terminal.fleet_tables import fleet_plan_table

    planned = plan_fleet(read_fleet(path))
    _show(planned, json, fleet_plan_table)
    if planned.unserved:
        raise typer.Exit(NOTHING_FITS)


@fleets.command("run")
def fleet_run(
    path: FleetFile,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the fleet.")],
    data: Data = None,
    address: Address = None,
    json: Json = False,
) -> None:
    """Make, judge, measure and bundle a fleet's artifacts; fleet.json says what each device gets.

    Exits 1 where an artifact could not be made.
    """
    from edgecomp.jobs.fleet_run import run_fleet
    from edgecomp.recipes.fleet import read_fleet
    from edgecomp.terminal.progress import progress_bars

    wanted = read_fleet(path)
    with progress_bars() as listen:
        found = run_fleet(wanted, output, data, listen, address)
    _show_made(found, json)


@fleets.command("resume")
def fleet_resume(folder: FleetFolder, address: Address = None, json: Json = False) -> None:
    """Make what a fleet's folder still lacks, as its run was begun."""
    from edgecomp.jobs.fleet_run import resume_fleet
    from edgecomp.terminal.progress import progress_bars

    with progress_bars() as listen:
        found = resume_fleet(folder, listen, address)
    _show_made(found, json)


def _show_made(status: FleetStatus, json: bool) -> None:
    from edgecomp.terminal.fleet_tables import fleet_status_table

    _show(status, json, fleet_status_table)
    if status.release is None:
        raise typer.Exit(UNHEALTHY)


@fleets.command("status")
def fleet_status(folder: FleetFolder, json: Json = False) -> None:
    """Show which artifacts of a fleet are made, and what each device gets."""
    from edgecomp.jobs.fleet_run import fleet_status as read_status
    from edgecomp.terminal.fleet_tables import fleet_status_table

    _show(read_status(folder), json, fleet_status_table)


@fleets.command("gate")
def fleet_gate(
    folder: FleetFolder,
    policy: Annotated[Path, typer.Option(help="A YAML file: which figures are allowed.")],
    against: Annotated[Path | None, typer.Option(help="The folder of the last release.")] = None,
    json: Json = False,
) -> None:
    """Hold a fleet's release against a policy, for a pipeline: exits 1 where it is broken."""
    from edgecomp.jobs.fleet_gate import gate, read_policy
    from edgecomp.terminal.fleet_tables import gate_table

    found = gate(folder, read_policy(policy), against)
    _show(found, json, gate_table)
    if not found.passed:
        raise typer.Exit(UNHEALTHY)


@fleets.command("compare")
def fleet_compare(
    old: Annotated[Path, typer.Argument(help="The folder of one release.")],
    new: Annotated[Path, typer.Argument(help="That of another.")],
    json: Json = False,
) -> None:
    """Say what each device gets otherwise, and which bytes of its file change."""
    from edgecomp.jobs.fleet_compare import compare_fleets
    from edgecomp.terminal.fleet_tables import fleet_comparison_table

    _show(compare_fleets(old, new), json, fleet_comparison_table)


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="A bundle.")],
    memory_limit: MemoryLimit = None,
    cpus: Cpus = None,
    json: Json = False,
) -> None:
    """Hash a bundle's files again and load its artifact."""
    from edgecomp.bundles.bundle import verify_bundle
    from edgecomp.processes.limits import limited
    from edgecomp.terminal.report_tables import verification

    with limited(_limits(memory_limit, cpus)):
        found = verify_bundle(folder)
    _show(found, json, verification)
    if found.faults:
        raise typer.Exit(USER_ERROR)


@app.command()
def evaluate(
    artifact: Artifact,
    base: Annotated[
        str | None, typer.Option(help="The model it came from, as GGUF: compare and judge.")
    ] = None,
    data: Data = None,
    tasks: Annotated[
        str | None, typer.Option(help="Benchmarks by name, with commas; any lm-eval task.")
    ] = None,
    suite: Annotated[SuiteName, typer.Option(help="How much to ask.")] = "quick",
    limit: Annotated[
        int | None, typer.Option(min=1, help="Questions of each benchmark, at most.")
    ] = None,
    budget: Budget = None,
    tolerate: Tolerate = None,
    allow_code: Annotated[
        bool, typer.Option("--allow-code", help="Run code the model writes, in a sandbox.")
    ] = False,
    task: TaskOption = "general",
    json: Json = False,
) -> None:
    """Score an artifact by capability and reliability; with a base, judge what it lost."""
    from edgecomp.jobs.evaluation import EvaluationRequest, evaluate_artifact
    from edgecomp.jobs.kept_results import keep_evaluation
    from edgecomp.recipes.tolerances import parse_tolerances
    from edgecomp.terminal.progress import progress_bars
    from edgecomp.terminal.result_tables import evaluation_table

    names = tuple(name.strip() for name in (tasks or "").split(",") if name.strip())
    request = EvaluationRequest(
        artifact=artifact, base=base, data=data, tasks=names, suite=suite, limit=limit,
        budget_seconds=_budget_seconds(budget),
        tolerances=parse_tolerances(tolerate or ""), allow_code=allow_code, task=task,
    )  # fmt: skip
    with progress_bars() as listen:
        found = evaluate_artifact(request, listen)
        keep_evaluation(found, listen)
    _show(found, json, evaluation_table)


@app.command()
def audit(
    files: Annotated[list[str], typer.Argument(help="GGUF files of one base, anyone's.")],
    base: Annotated[
        str, typer.Option(help="What they were made from, as GGUF; or llama.cpp's logits of it.")
    ],
    data: Data = None,
    suite: Annotated[SuiteName, typer.Option(help="How much to ask.")] = "quick",
    limit: Annotated[
        int | None, typer.Option(min=1, help="Questions of each benchmark, at most.")
    ] = None,
    budget: Budget = None,
    tolerate: Tolerate = None,
    task: TaskOption = "general",
    write_logits: Annotated[
        Path | None,
        typer.Option(help="Write the base's logits as well, for llama.cpp's --kl-divergence-base."),
    ] = None,
    json: Json = False,
) -> None:
    """Say of anyone's files what they lost of their base, and which is the best."""
    from edgecomp.jobs.audit import AuditRequest, save_logits
    from edgecomp.jobs.audit import audit as carry_out
    from edgecomp.jobs.kept_results import keep_audit
    from edgecomp.recipes.tolerances import parse_tolerances
    from edgecomp.terminal.progress import progress_bars
    from edgecomp.terminal.result_tables import audit_table

    request = AuditRequest(
        files=tuple(files), base=base, data=data, suite=suite, limit=limit,
        budget_seconds=_budget_seconds(budget), tolerances=parse_tolerances(tolerate or ""),
        task=task,
    )  # fmt: skip
    with progress_bars() as listen:
        if write_logits:
            save_logits(base, data, write_logits)
        found = carry_out(request, listen)
        keep_audit(found, listen)
    _show(found, json, audit_table)


@app.command()
def compare(
    bundles: Annotated[list[Path], typer.Argument(help="Two bundles or more.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="An HTML page to write as well.")
    ] = None,
    only: Annotated[
        OnlyPerplexity | None, typer.Option(help="Compare perplexity alone, knowing its limits.")
    ] = None,
    json: Json = False,
) -> None:
    """Set bundles beside each other: efficiency, capabilities, reliability, divergence."""
    from edgecomp.bundles.compare import compare_bundles
    from edgecomp.bundles.compare_report import write_comparison
    from edgecomp.terminal.result_tables import comparison_table

    found = compare_bundles(bundles, only)
    if output:
        write_comparison(found, output)
    _show(found, json, comparison_table)


@app.command()
def results(
    model: Annotated[str | None, typer.Option(help="Part of a model's name.")] = None,
    device: Annotated[str | None, typer.Option(help="Part of a device's or processor's.")] = None,
    runtime: Annotated[str | None, typer.Option(help="Part of a runtime's.")] = None,
    format: Annotated[str | None, typer.Option(help="Part of a format's, as Q4_K.")] = None,
    since: Annotated[str | None, typer.Option(help="A day as 2026-11-01, or 24h, 30d.")] = None,
    max_bits: Annotated[float | None, typer.Option(help="Bits a weight, at most.")] = None,
    sort: Annotated[
        ResultsOrder, typer.Option(help="The latest, least lost, fastest or smallest first.")
    ] = "time",
    quantity: Annotated[
        str | None,
        typer.Option(help="Show one figure of each run, predicted beside measured, as decode."),
    ] = None,
    plot: Annotated[
        bool, typer.Option("--plot", help="Draw it over bits a weight (default: divergence).")
    ] = False,
    export: Annotated[
        Path | None, typer.Option(help="Write every figure to a .csv, .json or .parquet file.")
    ] = None,
    json: Json = False,
) -> None:
    """Show what all runs found out, predicted beside measured; filter, plot and export it."""
    from edgecomp.results.export import export_results
    from edgecomp.results.query import ResultsFilter, in_order, read_results
    from edgecomp.terminal.kept_tables import figure_plot, figure_table, results_table

    wanted = ResultsFilter(
        model=model, device=device, runtime=runtime, format=format,
        since=_moment(since) if since else None, most_bits=max_bits,
    )  # fmt: skip
    found = in_order(read_results(wanted), sort)
    if export:
        rows = export_results(found, export)
        print(f"{rows} figures of {len(found.runs)} runs in {export}", file=sys.stderr)
    shown = quantity or "divergence"
    if plot:
        _show(found, json, lambda value: figure_plot(value, shown))
    elif quantity:
        _show(found, json, lambda value: figure_table(value, shown))
    elif json or not export:
        _show(found, json, results_table)


def _moment(text: str) -> datetime:
    from datetime import datetime, timedelta

    from edgecomp.common.errors import UnitUnknown
    from edgecomp.common.quantity import DURATIONS, parse_quantity

    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError:
        pass
    try:
        seconds = parse_quantity(text, {**DURATIONS, "d": 86_400})
        return datetime.now().astimezone() - timedelta(seconds=seconds)
    except (UnitUnknown, OverflowError):
        raise typer.BadParameter(
            "--since takes a day such as 2026-11-01, or a time back such as 24h or 30d."
        ) from None


@app.command()
def improve(
    bundle: Annotated[Path, typer.Argument(help="A bundle whose verdict proposes remedies.")],
    rounds: Annotated[int, typer.Option(min=1, help="New runs, at most.")] = 3,
    data: Data = None,
    json: Json = False,
) -> None:
    """Carry out the verdict's remedies as new runs, and say what each gave back."""
    from edgecomp.jobs.improve import improve as carry_out
    from edgecomp.terminal.progress import progress_bars
    from edgecomp.terminal.result_tables import improvement_table

    with progress_bars() as listen:
        found = carry_out(bundle, rounds, data, listen)
    _show(found, json, improvement_table)


@app.command()
def measure(
    artifact: Artifact,
    concurrency: Annotated[
        str, typer.Option(help="Requests at a time, with commas: one load each.")
    ] = "1,2,4",
    rate: Annotated[
        float | None,
        typer.Option(min=0.001, help="Poisson arrivals a second (default: a closed loop)."),
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0.01, help="Keep the highest load up for so long as well.")
    ] = None,
    memory_limit: MemoryLimit = None,
    cpus: Cpus = None,
    on: Annotated[
        str | None, typer.Option(help="Another device: ssh://user@host:port or adb://SERIAL.")
    ] = None,
    remote_python: Annotated[
        str, typer.Option(help="Over ssh: the Python there that has edgecomp.")
    ] = "python3",
    llama_bin: Annotated[
        Path | None, typer.Option(help="Over adb: a folder with llama.cpp built for Android.")
    ] = None,
    genai_bin: Annotated[
        Path | None,
        typer.Option(help="Over adb, for ONNX: a folder with onnxruntime-genai built for Android."),
    ] = None,
    json: Json = False,
) -> None:
    """Serve an artifact under load: first token, tokens between, throughput, memory, energy."""
    from edgecomp.jobs.kept_results import keep_measurement
    from edgecomp.jobs.measure import measure_artifact
    from edgecomp.measure.request import MeasureRequest
    from edgecomp.measure.serving import Serving
    from edgecomp.remote.adb_measure import Builds
    from edgecomp.remote.measure import measure_on
    from edgecomp.terminal.progress import progress_bars
    from edgecomp.terminal.result_tables import measured_table

    request = MeasureRequest(
        concurrencies=_whole_numbers("--concurrency", concurrency),
        requests_per_second=rate,
        minutes=minutes,
        limits=_limits(memory_limit, cpus),
    )
    with progress_bars() as listen:
        found = (
            measure_on(
                on,
                artifact,
                request,
                listen,
                remote_python=remote_python,
                builds=Builds(llama_bin, genai_bin),
            )
            if on
            else measure_artifact(artifact, request, listen)
        )
        keep_measurement(found, artifact, on, listen)
    _show(found, json, measured_table)
    if isinstance(found, Serving) and found.died:
        raise typer.Exit(USER_ERROR)


def _whole_numbers(option: str, text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() and int(part) for part in parts):
        raise typer.BadParameter(f"{option} takes whole numbers from 1 on, such as 1,2,4")
    return tuple(int(part) for part in parts)


@app.command()
def tui(
    data: Data = None,
    serve: Annotated[bool, typer.Option(help="Offer the app in a browser.")] = False,
    host: Annotated[str, typer.Option(help="Where to serve it.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8765,
) -> None:
    """Open the app: pick a model and a device, plan, run, compare; also `edgecomp` alone."""
    from importlib.metadata import entry_points

    apps = entry_points(group="edgecomp.apps")
    if serve:
        apps["serve"].load()(data, host, port)
    else:
        apps["tui"].load()(data)


SCHEMAS = {
    "model": "edgecomp.models.spec:ModelSpec",
    "plan": "edgecomp.planning.plan:Plan",
    "device": "edgecomp.devices.profile:DeviceProfile",
    "devices": "edgecomp.devices.finding:DeviceList",
    "device-comparison": "edgecomp.planning.device_comparison:DeviceComparison",
    "fitted": "edgecomp.jobs.fit:Fitted",
    "verification": "edgecomp.bundles.bundle:Verification",
    "compressed": "edgecomp.making.compress_job:Compressed",
    "evaluation": "edgecomp.jobs.evaluation:Evaluation",
    "audit": "edgecomp.jobs.audit:Audit",
    "comparison": "edgecomp.bundles.compare:BundleComparison",
    "improvement": "edgecomp.jobs.improve:Improvement",
    "results": "edgecomp.results.query:Results",
    "serving": "edgecomp.measure.serving:Serving",
    "llama-bench": "edgecomp.measure.llama_bench:LlamaBench",
    "genai-bench": "edgecomp.measure.genai_bench:GenaiBench",
    "recipe": "edgecomp.recipes.recipe:Recipe",
    "manifest": "edgecomp.bundles.bundle:Manifest",
    "diagnosis": "edgecomp.jobs.doctor:Diagnosis",
    "cache": "edgecomp.pipeline.cache_contents:CacheContents",
    "fleet-request": "edgecomp.recipes.fleet:FleetRequest",
    "fleet-plan": "edgecomp.jobs.fleet_plan:FleetPlan",
    "fleet-status": "edgecomp.jobs.fleet_run:FleetStatus",
    "fleet": "edgecomp.jobs.fleet_release:FleetRelease",
    "fleet-policy": "edgecomp.jobs.fleet_gate:FleetPolicy",
    "fleet-gate": "edgecomp.jobs.fleet_gate:GateOutcome",
    "fleet-comparison": "edgecomp.jobs.fleet_compare:FleetComparison",
}
"""What each --json prints, and the files of a bundle."""


@app.command()
def schema(
    kind: Annotated[str, typer.Argument(help=f"One of: {', '.join(SCHEMAS)}.")],
) -> None:
    """Print the JSON schema of an output."""
    import importlib
    import json

    from edgecomp.common.json_schema import json_schema

    if kind not in SCHEMAS:
        raise typer.BadParameter(f"choose one of {', '.join(SCHEMAS)}")
    module, name = SCHEMAS[kind].split(":")
    value = getattr(importlib.import_module(module), name)
    print(json.dumps(json_schema(value), indent=2))


@app.command()
def doctor(
    data: Annotated[
        Path | None,
        typer.Option(envvar="EDGECOMP_DATA", help="Folder of evaluation data to look at."),
    ] = None,
    json: Json = False,
) -> None:
    """Show what works on this machine and what does not, each with its cure."""
    from edgecomp.jobs.doctor import examine
    from edgecomp.terminal.tables import diagnosis_table

    found = examine(data)
    _show(found, json, diagnosis_table)
    if not found.healthy:
        raise typer.Exit(UNHEALTHY)


@app.command()
def cache(
    model: Annotated[str | None, typer.Argument(help="Only what is kept for this model.")] = None,
    prune: Annotated[
        bool, typer.Option("--prune", help="Free it, but for what is in use.")
    ] = False,
    json: Json = False,
) -> None:
    """Show what finished stages take, by model; with --prune, free it."""
    from edgecomp.pipeline.cache_contents import prune_cache, read_contents
    from edgecomp.terminal.tables import cache_table

    found = prune_cache(model) if prune else read_contents(model)
    _show(found, json, cache_table)


@devices.command("list")
def devices_list(json: Json = False) -> None:
    """Name every profile."""
    from edgecomp.devices.finding import device_list

    _show(device_list(), json, lambda value: "\n".join(value.lines()))


@devices.command("show")
def devices_show(name: Annotated[str, typer.Argument()] = "auto", json: Json = False) -> None:
    """Show one profile, with where its numbers come from."""
    from edgecomp.devices.finding import find_device
    from edgecomp.terminal.tables import device_table

    _show(find_device(name), json, device_table)


@devices.command("compare")
def devices_compare(
    names: Annotated[list[str] | None, typer.Argument(help="Profiles; none: all of them.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="Plan this model for each.")] = None,
    context: Annotated[int, typer.Option(min=1, help="Tokens of context to serve.")] = 4096,
    json: Json = False,
) -> None:
    """Set devices beside each other, with what each would run of a model."""
    from edgecomp.models.reading import read_model
    from edgecomp.planning.device_comparison import compare_devices
    from edgecomp.terminal.tables import device_comparison_table

    found = compare_devices(names or (), [read_model(name) for name in model or ()], context)
    _show(found, json, device_comparison_table)


@devices.command("detect")
def devices_detect(json: Json = False) -> None:
    """Show this machine as a profile."""
    devices_show("auto", json)


@devices.command("calibrate")
def devices_calibrate(json: Json = False) -> None:
    """Measure this machine's kernels in a few minutes, so that plans predict its speed."""
    from edgecomp.measure.calibrate_here import calibrate_here
    from edgecomp.terminal.progress import progress_bars

    with progress_bars() as listen:
        for runtime in ("llama.cpp", "onnx"):
            calibrate_here(runtime, listen)
    devices_show("auto", json)


if __name__ == "__main__":
    main()
