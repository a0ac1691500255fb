"""A mixture's experts as linears of their own, where transformers has them fused.

transformers keeps the experts of a block as two tensors, `gate_up_proj` [experts, 2 hidden, width]
and `down_proj` [experts, width, hidden], of some families transposed; methods round one matrix at a
time. Most checkpoints store three matrices an expert, whose names are read from them; transformers
states the same in its `conversion_mapping.py`. Others store the two tensors as they are: there an
expert's two matrices are views of them. The router stays what it is, a parameter and no linear: it
is small, decides for whole experts, and llama.cpp keeps it in F32 as well.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import cast

import torch
from torch import Tensor, nn

from edgecomp.common.errors import ArchitectureUnsupported

ROLES = (("gate_proj", "up_proj", "down_proj"), ("w1", "w3", "w2"))
"""What the gate, up and down matrices of an expert are called: by Qwen and most, by Mixtral."""

FUSED = ("gate_up_proj", "down_proj")
"""What the tensors of all experts are called by transformers; biases have `_bias` after it."""

PLAIN = {"has_gate": True, "is_concatenated": True, "is_transposed": False, "has_bias": False,
         "has_post_expert_norm": False}  # fmt: skip
"""How transformers describes fused experts that compute down(act(gate x) * up x)."""


class Expert(nn.Module):
    """One expert of a mixture, called with the tokens that were routed to it."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = torch.empty(0, dtype=torch.int64)
        """Which tokens of the last batch were routed here."""


def tokens_read(module: nn.Module, linear: str, begun: int, rows: int) -> Tensor | slice:
    """Which tokens of the calibration the `rows` inputs of a linear in a block are, in a batch that
    comes after `begun` tokens: of an expert's those that were routed to it."""
    owner = module.get_submodule(linear.rpartition(".")[0])
    return owner.tokens + begun if isinstance(owner, Expert) else slice(begun, begun + rows)


class StoredExpert(Expert):
    """down(act(gate x) * up x), the linears under the checkpoint's names; [tokens, width]."""

    def __init__(
        self,
        roles: tuple[str, str, str],
        width: int,
        hidden: int,
        activation: Callable[[Tensor], Tensor],
    ) -> None:
        super().__init__()
        self.roles, self.activation = roles, activation
        gate, up, down = roles
        self.add_module(gate, nn.Linear(width, hidden, bias=False))
        self.add_module(up, nn.Linear(width, hidden, bias=False))
        self.add_module(down, nn.Linear(hidden, width, bias=False))

    def forward(self, inputs: Tensor) -> Tensor:
        gate, up, down = (self.get_submodule(role) for role in self.roles)
        output: Tensor = down(self.activation(gate(inputs)) * up(inputs))
        return output


class SlicedLinear(nn.Linear):
    """A linear whose weight [rows, columns] and bias are views of parameters that others own."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        rows, columns = weight.shape
        super().__init__(columns, rows, bias=False, device="meta")
        del self.weight, self.bias
        self.__dict__ |= {"weight": weight, "bias": bias}


class SlicedExpert(Expert):
    """Expert `number` of fused weights: what they compute, on views of them."""

    def __init__(self, number: int, gate: Callable[[Tensor], Tensor], **matrices: nn.Linear):
        super().__init__()
        self.number, self.gate = number, gate
        for name, matrix in matrices.items():
            self.add_module(name, matrix)

    def forward(self, inputs: Tensor) -> Tensor:
        gate_up, down = (self.get_submodule(name) for name in FUSED)
        output: Tensor = down(self.gate(gate_up(inputs)))
        return output


class Experts(nn.ModuleList):
    """Called as transformers calls its fused experts, with the same result."""

    def forward(self, hidden: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
        """hidden [tokens, width]; chosen int64 and weights [tokens, experts used]."""
        output = torch.zeros_like(hidden)
        for number, expert in enumerate(cast(Iterator[Expert], iter(self))):
            token, place = torch.where(chosen == number)
            # Run even where no token came here, on no rows: whoever watches sees every expert.
            expert.tokens = token
            found = expert(hidden[token]) * weights[token, place, None]
            output.index_add_(0, token, found.to(output.dtype))
        return output


class FusedExperts(Experts):
    """Experts whose weights the checkpoint stores fused: the parameters are these, under their
    names, and `separate` makes the experts once they hold values."""

    def __init__(self, fused: nn.Module) -> None:
        super().__init__()
        self.__dict__["fused"] = fused  # No part of the model: its parameters are here.
        for name, parameter in fused.named_parameters(recurse=False):
            self.register_parameter(name, parameter)

    def separate(self) -> None:
        """Put an expert's linears beside each other, as views of the weights."""
        gate_up, down = (self.get_parameter(name) for name in FUSED)
        transposed = gate_up.shape[1] == down.shape[2] and gate_up.shape[2] == 2 * down.shape[1]
        for number in range(len(down)):
            matrices = {}
            for name in FUSED:
                weight, bias = self._parameters[name], self._parameters.get(f"{name}_bias")
                own = cast(Tensor, weight).data[number]
                matrices[name] = SlicedLinear(
                    own.T if transposed else own, None if bias is None else bias.data[number]
                )
            self.append(SlicedExpert(number, self._gate, **matrices))

    def _gate(self, gate_up: Tensor) -> Tensor:
        """What enters an expert's second matrix, given what its first put out."""
        fused: nn.Module = self.__dict__["fused"]
        own = getattr(fused, "_apply_gate", None)
        if own is not None:
            return cast(Tensor, own(gate_up))
        gate, up = gate_up.chunk(2, dim=-1)
        return cast(Callable[[Tensor], Tensor], fused.act_fn)(gate) * up


class SortedExperts(FusedExperts):
    """Fused experts that are handed all tokens once for each expert, zeros where a token was not
    routed to it."""

    def forward(self, hidden: Tensor) -> Tensor:  # type: ignore[override]
        """hidden [experts x tokens, width]; same shape."""
        outputs = []
        for expert, inputs in zip(
            cast(Iterator[Expert], iter(self)), hidden.chunk(len(self)), strict=True
        ):
            expert.tokens = inputs.any(dim=1).nonzero().flatten()
            output = torch.zeros_like(inputs)
            output[expert.tokens] = expert(inputs[expert.tokens])
            outputs.append(output)
        return torch.cat(outputs)


def separate_experts(
    blocks: nn.Module, stored: Iterable[str], find: Callable[[str], object | None]
) -> None:
    """Put linears in the place of the fused experts of decoder blocks that have no weights yet
    (device meta). `stored`: the names of the checkpoint's tensors; `find`: what it stores for a
    parameter of `blocks`. Those that it stores fused get them by `FusedExperts.separate`; they stay
    fused where what they compute is not known.

    Raises ArchitectureUnsupported where the experts compute something else, or where the checkpoint
    does not store them one by one.
    """
    for name, module in list(blocks.named_modules()):
        if "gate_up_proj" not in dict(module.named_parameters(recurse=False)):
            continue
        if find(f"{name}.gate_up_proj") is None:
            blocks.set_submodule(name, _separated(module, stored))
        elif kind := _kind_of_fused(module):
            blocks.set_submodule(name, kind(module))


def _kind_of_fused(fused: nn.Module) -> type[FusedExperts] | None:
    """How fused experts are called, where they are two tensors with a gate between; None for
    others."""
    shapes = [p.shape for p in map(dict(fused.named_parameters()).get, FUSED) if p is not None]
    if [len(shape) for shape in shapes] != [3, 3]:
        return None
    if getattr(fused, "has_gate", None) and not fused.has_post_expert_norm:
        return FusedExperts
    # Without transformers' description: by what they are called with.
    handed = inspect.signature(fused.forward).parameters
    return SortedExperts if len(handed) == 1 and hasattr(fused, "act_fn") else None


def _separated(fused: nn.Module, stored: Iterable[str]) -> Experts:
    kind = type(fused).__name__
    own_gate = getattr(type(fused), "_apply_gate", None)
    plain = all(getattr(fused, key, value) == value for key, value in PLAIN.items())
    if not plain or getattr(own_gate, "__module__", "") != "transformers.integrations.moe":
        raise ArchitectureUnsupported(
            f"with {kind}", "compressed expert by expert", ["gated experts without biases"]
        )
    names = [n for n in stored if ".experts.0." in n]
    roles = next(
        (r for r in ROLES if all(any(n.endswith(f".{p}.weight") for n in names) for p in r)), None
    )
    if roles is None:
        raise ArchitectureUnsupported(
            f"with {kind} whose matrices the checkpoint does not store one by one",
            "compressed expert by expert",
            ["checkpoints with experts.0.gate_proj or experts.0.w1"],
        )
    count, width, hidden = fused.get_parameter("down_proj").shape
    activation = cast(Callable[[Tensor], Tensor], fused.act_fn)
    with torch.device("meta"):
        return Experts(StoredExpert(roles, width, hidden, activation) for _ in range(count))
