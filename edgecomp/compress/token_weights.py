"""How much each token's error in a linear's outputs counts at the model's own.

To second order the divergence of the changed model from the model as it is is a quadratic form of a
linear's output errors, its matrix the Fisher information E[g g^T], g [rows] the gradient of -ln p
of a next token that is drawn from the model's own p. Taken to be diagonal, with one mean for all
rows of a linear, it leaves a number a token, the mean of g_t^2 over rows, and H of the solvers is
mean w_t x_t x_t^T (Kim et al. 2025, GuidedQuant, arXiv 2505.07004, equation 7 with one group of
rows; they take the text's own next tokens).

One token is drawn for each of the calibration's, so that its number is noise for the most part, and
a few tokens have nearly all of it: in the first block of SmolLM2-135M one of 16,384. So w_t is its
square root, of mean 1; benchmarks/RESULTS.md has what else was tried.

Blocks are loaded one at a time: the inputs of all blocks are kept, of as many samples as memory
allows, and from the last block to the first each is run once more with autograd, which hands its
inputs' gradient on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from edgecomp.common.events import Progress, ignore_progress
from edgecomp.compress.blocks import Block, attached_hooks, batches, linears_of
from edgecomp.compress.checkpoint import write_shard
from edgecomp.compress.decoder import Decoder
from edgecomp.compress.experts import tokens_read
from edgecomp.compress.head_divergence import Head, gradient_of_drawn
from edgecomp.compress.hessian import TokenWeights
from edgecomp.compress.propagated_error import head_of
from edgecomp.models.reading import read_model
from edgecomp.recipes.compression_limits import STATES_BYTES


def measure_token_weights(
    checkpoint: Path,
    tokens: Tensor,
    destination: Path,
    *,
    device: str = "cpu",
    progress: Progress = ignore_progress,
) -> None:
    """Write the weights of a float checkpoint's linears as a safetensors file: the name of each
    matrix with float16 [tokens], their mean 1 over the tokens that it reads. Tokens that this model
    does not route to an expert count 1 there, and all tokens do in matrices of no known gradient.

    tokens: int64 [samples, length]. `progress` counts visits of blocks. Raises what `walk` raises.
    """
    found = squared_gradients(checkpoint, tokens, device=device, progress=progress)
    write_shard(destination, {name: _normalized(squares) for name, squares in found.items()})


def squared_gradients(
    checkpoint: Path,
    tokens: Tensor,
    *,
    device: str = "cpu",
    progress: Progress = ignore_progress,
) -> dict[str, Tensor]:
    """The mean over its rows of the squared gradient by a linear's outputs, float32 [tokens] by the
    matrix's name; NaN where it is not known, as of tokens that are not routed to an expert."""
    model = read_model(checkpoint)
    head = head_of(checkpoint, model, model.head_name)
    with torch.no_grad():
        decoder = Decoder(checkpoint, tokens, device)
        gradients = _Gradients(decoder, head, tokens.shape)
        size = 4 * tokens.shape[1] * int(decoder.config.hidden_size) * decoder.layers
        step = max(1, STATES_BYTES // size)
        firsts = range(0, len(tokens), step)
        total = len(firsts) * 2 * decoder.layers
        for number, first in enumerate(firsts):
            for visit in gradients.measure(slice(first, min(first + step, len(tokens)))):
                progress(number * 2 * decoder.layers + visit, total)
    return gradients.squares


class _Gradients:
    """Gathers the squared gradients of every matrix, float32 [tokens] by its name, NaN where a
    token does not reach it."""

    def __init__(self, decoder: Decoder, head: Head, shape: torch.Size) -> None:
        """shape: of the calibration's tokens."""
        self._decoder, self._head = decoder, head
        random = torch.Generator().manual_seed(0)
        self._uniform = torch.rand(shape, generator=random, dtype=torch.float64)
        self.squares: dict[str, Tensor] = {}

    def measure(self, samples: slice) -> Iterator[int]:
        """Go through all blocks with these samples and back; the visits so far."""
        layers = self._decoder.layers
        inputs = [torch.cat([self._decoder.embed(part).cpu() for part in self._parts(samples)])]
        for index in range(layers):
            inputs.append(self._outputs(index, inputs[-1], samples))
            yield index + 1
        gradient = self._gradient_at_the_end(inputs.pop(), samples)
        for index in reversed(range(layers)):
            self._go_back(index, inputs.pop(), gradient, samples)
            yield 2 * layers - index

    def _parts(self, samples: slice) -> Iterator[slice]:
        """The samples of each batch."""
        first = samples.start
        for batch in batches(self._uniform[samples]):
            yield slice(first, first + len(batch))
            first += len(batch)

    def _outputs(self, index: int, inputs: Tensor, samples: slice) -> Tensor:
        decoder, outputs = self._decoder, torch.empty_like(inputs)
        module = decoder.block(index)
        for part, batch, output in zip(
            self._parts(samples), batches(inputs), batches(outputs), strict=True
        ):
            output.copy_(decoder.run(index, module, batch.to(decoder.device), part.start))
        return outputs

    def _gradient_at_the_end(self, outputs: Tensor, samples: slice) -> Tensor:
        """The gradient by what the last block puts out."""
        decoder, gradient = self._decoder, torch.empty_like(outputs)
        for part, batch, above in zip(
            self._parts(samples), batches(outputs), batches(gradient), strict=True
        ):
            leaving = batch.to(decoder.device).requires_grad_()
            with torch.enable_grad():
                states = decoder.final(leaving)
            drawn = self._uniform[part].flatten().to(decoder.device)
            of_states = gradient_of_drawn(self._head, states.detach().flatten(0, 1), drawn)
            above.copy_(torch.autograd.grad(states, leaving, of_states.view_as(states))[0])
        return gradient

    def _go_back(self, index: int, inputs: Tensor, gradient: Tensor, samples: slice) -> None:
        """Take `gradient`, by the outputs of a block, to its inputs."""
        decoder = self._decoder
        module = decoder.block(index)
        for part, batch, above in zip(
            self._parts(samples), batches(inputs), batches(gradient), strict=True
        ):
            entering = batch.to(decoder.device).requires_grad_()
            with torch.enable_grad(), attached_hooks(self._hooks(index, module, part)):
                outputs = decoder.run(index, module, entering, part.start)
            above.copy_(torch.autograd.grad(outputs, entering, above.to(decoder.device))[0])

    def _hooks(self, index: int, module: nn.Module, part: slice) -> Iterator[RemovableHandle]:
        tokens, length = self._uniform.numel(), self._uniform.shape[1]
        for linear, watched in linears_of(module).items():
            name = self._decoder.weight_name(index, module, linear)
            squares = self.squares.setdefault(name, torch.full((tokens,), torch.nan))
            watch = _watch(module, linear, part.start * length, squares)
            yield watched.register_forward_hook(watch)


def _watch(
    module: nn.Module, linear: str, begun: int, squares: Tensor
) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    """A hook that has the gradient by a linear's outputs put into `squares` float32 [tokens]."""

    def watch(watched: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if not isinstance(output, Tensor):
            return  # Some routers are linears that put out more than one tensor.
        at = tokens_read(module, linear, begun, output.shape[:-1].numel())

        def note(gradient: Tensor) -> None:
            squares[at] = gradient.flatten(0, -2).square().mean(dim=-1).cpu()

        output.register_hook(note)  # type: ignore[no-untyped-call]

    return watch


def _normalized(squares: Tensor) -> Tensor:
    """The weights, float16, of mean 1, which tokens that were not seen have too."""
    weights = squares.sqrt()
    return (weights / weights.nanmean()).nan_to_num(1.0, posinf=1.0).half()


def stored_weights(file: Path) -> TokenWeights:
    """The weights in a file of `measure_token_weights`."""
    stored = load_file(file)

    def weights(block: Block, name: str) -> Tensor:
        return stored[block.weight_name(name)].to(block.device, torch.float32)

    return weights
