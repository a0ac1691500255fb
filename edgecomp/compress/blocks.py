"""The block walker: a checkpoint passes through memory one decoder block at a time.

Each block is loaded, shown to a method together with its calibration inputs, written, run with the
weights that were written, and freed; its outputs are the next block's inputs. So a method sees the
error of the blocks before it, and peak memory does not grow with depth.

Resuming: a finished block is a file. After a kill, finished blocks are read back and run once over
the calibration instead of being compressed again. The inputs are recomputed rather than saved:
saving them costs a write of all hidden states after every block of every run, recomputing costs one
forward pass a finished block of the rare resumed one, and gives the same bytes because what is run
is always what was written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedConfig

from edgecomp.common.atomic import take_space, write_error
from edgecomp.common.errors import ActivationsNotFinite
from edgecomp.common.events import Progress, ignore_progress
from edgecomp.common.folders import scratch_folder
from edgecomp.common.machine_limits import available_memory_bytes, in_memory
from edgecomp.compress import destination as output
from edgecomp.compress.checkpoint import DTYPES, read_tensor, write_shard
from edgecomp.compress.decoder import Decoder
from edgecomp.compress.destination import Destination
from edgecomp.compress.experts import tokens_read
from edgecomp.compress.packed import PackedTensor, write_packed
from edgecomp.models.safetensors_header import read_safetensors_header

TOKENS_PER_BATCH = 1024


@dataclass
class Block:
    """One decoder block, its linears (weights [rows, columns], changed in place) and its inputs."""

    index: int
    name: str
    module: nn.Module
    linears: dict[str, nn.Linear]
    config: PreTrainedConfig
    weight_name: Callable[[str], str]
    """The checkpoint's name of a linear's weight."""

    run: Callable[[Tensor], Tensor]
    """Outputs for some of the inputs, float32 [samples, length, width]."""

    final: Callable[[Tensor], Tensor]
    """What enters the output head, for what the last block put out."""

    hidden: Tensor
    """Inputs of the block, float32 [samples, length, width]; possibly on disk."""

    report: Callable[[float], None]
    """Takes the share of the block's work that is done; see `count_work`."""

    begun: int = 0
    """Tokens of the batches before the one that `observe` runs now."""

    rounded_when_written: bool = False
    """Whether what a method leaves is rounded once more, to the type of the file."""

    advanced: bool = False
    """Set by methods that leave the block's outputs in `hidden`."""

    packed: dict[str, PackedTensor] = field(default_factory=dict)
    """Filled by methods that choose codes of a GGUF type: linear's name -> codes."""

    read_tokens: float = 0.0
    solved_weights: int = 0

    @property
    def tokens(self) -> int:
        """How many tokens the whole calibration has."""
        return self.hidden.shape[0] * self.hidden.shape[1]

    @property
    def device(self) -> torch.device:
        return next(self.module.parameters()).device

    def count_work(self, *, read_tokens: float = 0.0, solved_weights: int = 0) -> None:
        """Report what a method has done since it last did: a wide block takes many minutes.

        Reading the calibration counts as half of the work, solving all weights as the other half.
        """
        self.read_tokens += read_tokens
        self.solved_weights += solved_weights
        weights = sum(linear.weight.numel() for linear in self.linears.values())
        read = min(1.0, self.read_tokens / self.tokens)
        self.report((read + min(1.0, self.solved_weights / max(weights, 1))) / 2)

    def batches(self) -> Iterator[Tensor]:
        """The block's inputs, a few samples at a time, where the block is."""
        return (batch.to(self.device) for batch in batches(self.hidden))

    def replace(self, batch: Tensor, output: Tensor) -> None:
        """Put what came out in the place of `batch`, a part of `hidden`.

        Raises ActivationsNotFinite, naming the layer.
        """
        if not torch.isfinite(output).all():
            raise ActivationsNotFinite(self._first_not_finite(batch.to(self.device)))
        batch.copy_(output)

    def _first_not_finite(self, batch: Tensor) -> str:
        found: list[str] = []

        def note(child: str) -> Callable[[nn.Module, object, object], None]:
            def hook(module: nn.Module, inputs: object, output: object) -> None:
                if isinstance(output, Tensor) and not torch.isfinite(output).all():
                    found.append(f"{self.name}.{child}" if child else self.name)

            return hook

        named = self.module.named_modules()
        with attached_hooks(m.register_forward_hook(note(child)) for child, m in named):
            self.run(batch)
        return found[0] if found else self.name

    def observe(self, watch: Mapping[str, Callable[[Tensor], None]]) -> None:
        """Run the calibration through the block as it stands now; each batch of inputs of linear
        `name`, float32 [tokens, columns], is handed to `watch[name]`."""
        unseen: set[str] = set()

        def hand_over(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
            def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
                watch[name](inputs[0].reshape(-1, inputs[0].shape[-1]).float())
                unseen.discard(name)
                if not unseen:
                    raise _AllSeen

            return hook

        hooks = (self.linears[name].register_forward_pre_hook(hand_over(name)) for name in watch)
        with attached_hooks(hooks):
            self.begun = 0
            for batch in self.batches():
                unseen.update(watch)
                with suppress(_AllSeen):
                    self.run(batch)
                tokens = batch.shape[0] * batch.shape[1]
                self.begun += tokens
                self.count_work(read_tokens=tokens)

    def tokens_of(self, name: str, rows: int) -> Tensor | slice:
        """While `observe` hands over a batch, `rows` inputs of linear `name`: which tokens of the
        calibration they are; of an expert's linear those that were routed to it."""
        return tokens_read(self.module, name, self.begun, rows)

    def shared_inputs(self) -> list[tuple[str, ...]]:
        """The linears grouped by the tensor they read (q, k, v read one), in the order they run."""
        groups: dict[int, list[str]] = {}
        kept: list[Tensor] = []

        def note(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
            def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
                kept.append(inputs[0])  # alive, so that no later tensor takes its address
                # An expert that no token came to reads no rows, which have no address.
                groups.setdefault(inputs[0].data_ptr() or id(inputs[0]), []).append(name)

            return hook

        with attached_hooks(m.register_forward_pre_hook(note(n)) for n, m in self.linears.items()):
            self.run(next(self.batches())[:1])
        return [tuple(names) for names in groups.values()]


@contextmanager
def attached_hooks(hooks: Iterable[RemovableHandle]) -> Iterator[None]:
    """Hooks of modules for as long as the body runs."""
    handles = list(hooks)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _AllSeen(Exception):
    """Each linear that is watched has read a batch: nothing that follows is of use."""


Method = Callable[[Block], None]
"""Changes a block's weights in place. One call a block, in order."""


def walk(  # noqa: PLR0913 - all but three have defaults
    source: Path,
    tokens: Tensor,
    method: Method,
    *,
    destination: Destination | None = None,
    final: Callable[[Tensor], None] | None = None,
    device: str = "cpu",
    progress: Progress = ignore_progress,
) -> None:
    """Show every block of the float checkpoint `source` to `method`, calibrated on `tokens`.

    tokens: int64 [samples, length]. Without `destination` nothing is written. `final` is handed
    the inputs of the output head, float32 [tokens, width], batch by batch. `progress` counts
    blocks.

    Raises CalibrationUnusable, ArchitectureUnsupported, ActivationsNotFinite (naming the layer),
    ModelIncomplete, FileCorrupt, DiskFull, NotWritable.
    """
    with torch.no_grad(), scratch_folder() as scratch:
        decoder = Decoder(source, tokens, device)
        if decoder.by_sample and device != "cpu":
            # Which samples a copy on a card holds cannot be told from where it lies.
            device = "cpu"
            decoder = Decoder(source, tokens, device)
        if destination is not None:
            job = output.fingerprint(decoder.stored, tokens, destination.job, destination.dtype)
            if output.begin(destination.folder, job):
                progress(decoder.layers, decoder.layers)
                return
        hidden = _embed(decoder, tokens, destination.folder if destination else scratch)
        for index in range(decoder.layers):

            def report(share: float, index: int = index) -> None:
                progress(index + share, decoder.layers)

            report(0.0)
            _visit(decoder, index, hidden, method, destination, report)
        if final is not None:
            for batch in batches(hidden):
                final(decoder.final(batch.to(device)).flatten(0, 1))
        if destination is not None:
            output.finish(source, destination, decoder.stored, decoder.layers)
    progress(decoder.layers, decoder.layers)


def _visit(
    decoder: Decoder,
    index: int,
    hidden: Tensor,
    method: Method,
    destination: Destination | None,
    report: Callable[[float], None],
) -> None:
    """Compress one block, or take it from an earlier run, and advance `hidden` through it."""
    module = decoder.block(index)
    name = f"{decoder.blocks_name}.{index}"
    linears = linears_of(module)

    def weight_name(linear: str) -> str:
        return decoder.weight_name(index, module, linear)

    def run(batch: Tensor) -> Tensor:
        return decoder.run(index, module, batch, _first_sample(batch, hidden)).float()

    block = Block(
        index, name, module, linears, decoder.config, weight_name, run, decoder.final, hidden,
        report,
    )  # fmt: skip
    shard = destination and destination.folder / output.shard_name(index + 1, decoder.layers)
    if shard is None or not shard.is_file():
        weights = decoder.stored_weights(index, module)
        written = destination.dtype if destination else None
        types = {n: written or DTYPES[decoder.stored[n].dtype] for n in weights}
        block.rounded_when_written = shard is not None and {*types.values()} != {torch.float32}
        method(block)
        if shard is not None and destination is not None:
            # The codes first: a block counts as finished once its shard is there.
            codes = {weight_name(linear): packed for linear, packed in block.packed.items()}
            write_packed(destination.folder, index, codes)
            write_shard(shard, {n: weight.to(types[n]) for n, weight in weights.items()})
    if shard is not None:
        _load(decoder, index, module, shard)
    if not block.advanced:
        for batch in batches(hidden):
            block.replace(batch, block.run(batch.to(block.device)))


def linears_of(module: nn.Module) -> dict[str, nn.Linear]:
    """A block's linears by name. A single row is a gate, which weighs a whole expert: GGUF keeps it
    as a float vector."""
    return {
        n: m for n, m in module.named_modules() if isinstance(m, nn.Linear) and m.out_features > 1
    }


def _first_sample(batch: Tensor, hidden: Tensor) -> int:
    """Which sample `batch` begins with, where it is a part of `hidden`; others are of the first."""
    inside = batch.untyped_storage().data_ptr() == hidden.untyped_storage().data_ptr()
    return (batch.storage_offset() - hidden.storage_offset()) // hidden[0].numel() if inside else 0


def batches(hidden: Tensor) -> Iterator[Tensor]:
    """Hidden states [samples, length, width] a few samples at a time."""
    step = max(1, TOKENS_PER_BATCH // hidden.shape[1])
    return iter(hidden[first : first + step] for first in range(0, len(hidden), step))


def _embed(decoder: Decoder, tokens: Tensor, folder: Path) -> Tensor:
    """The inputs of block 0 [samples, length, width]: in memory, or in a file where they are large.

    Float32 everywhere: hidden states of deep models outgrow float16, and bfloat16 would round what
    the methods measure.
    """
    shape = (*tokens.shape, int(decoder.config.hidden_size))
    elements = tokens.numel() * shape[-1]
    if 4 * elements > available_memory_bytes() // 2 and not in_memory(folder):
        hidden = _map_file(folder / ".hidden-states", elements).view(shape)
    else:
        hidden = torch.empty(shape)
    done = 0
    for batch in batches(hidden):
        batch.copy_(decoder.embed(slice(done, done + len(batch))))
        done += len(batch)
    return hidden


def _map_file(file: Path, elements: int) -> Tensor:
    """Float32 [elements] on the disk of `file`, which is gone from its folder at once: the mapping
    keeps it alive, and nothing is left behind after a kill. Raises DiskFull or NotWritable."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as opened:
            # Space that is only promised ends in a bus error on the page that finds none.
            take_space(opened.fileno(), 4 * elements)
        mapped = torch.from_file(str(file), shared=True, size=elements, dtype=torch.float32)
    except OSError as error:
        raise write_error(file, error) from error
    finally:
        file.unlink(missing_ok=True)
    return mapped


def _load(decoder: Decoder, index: int, module: nn.Module, shard: Path) -> None:
    """Put the written weights into the block: the next blocks see what will be shipped."""
    written = read_safetensors_header(shard)
    for name, view in decoder.stored_weights(index, module).items():
        view.copy_(read_tensor(written[name]))
