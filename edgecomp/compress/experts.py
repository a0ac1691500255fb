"""A mixture's experts as linears of their own, where transformers has them fused.

transformers keeps the experts of a block as two tensors, `gate_up_proj` [experts, 2 hidden, width]
and `down_proj` [experts, width, hidden]; checkpoints store three matrices an expert, and methods
round one matrix at a time. What the matrices are called is read from the checkpoint; transformers
states the same in its `conversion_mapping.py`. The router stays what it is, a parameter and no
linear: it is small, decides for whole experts, and llama.cpp keeps it in F32 as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import cast

import torch
from torch import Tensor, nn

from edgecomp.common.errors import ArchitectureUnsupported

ROLES = (("gate_proj", "up_proj", "down_proj"), ("w1", "w3", "w2"))
"""What the gate, up and down matrices of an expert are called: by Qwen and most, by Mixtral."""

PLAIN = {"has_gate": True, "is_concatenated": True, "is_transposed": False, "has_bias": False,
         "has_post_expert_norm": False}  # fmt: skip
"""How transformers describes fused experts that compute down(act(gate x) * up x)."""


class Expert(nn.Module):
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
        self.tokens = torch.empty(0, dtype=torch.int64)
        """Which tokens of the last batch were routed here."""
        gate, up, down = roles
        self.add_module(gate, nn.Linear(width, hidden, bias=False))
        self.add_module(up, nn.Linear(width, hidden, bias=False))
        self.add_module(down, nn.Linear(hidden, width, bias=False))

    def forward(self, inputs: Tensor) -> Tensor:
        gate, up, down = (self.get_submodule(role) for role in self.roles)
        output: Tensor = down(self.activation(gate(inputs)) * up(inputs))
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


def separate_experts(
    blocks: nn.Module, stored: Iterable[str], find: Callable[[str], object | None]
) -> None:
    """Put linears in the place of the fused experts of decoder blocks that have no weights yet
    (device meta). `stored`: the names of the checkpoint's tensors; `find`: what it stores for a
    parameter of `blocks`. Experts that it stores fused stay so.

    Raises ArchitectureUnsupported where the experts compute something else, or where the checkpoint
    does not store them one by one.
    """
    for name, module in list(blocks.named_modules()):
        fused = "gate_up_proj" in dict(module.named_parameters(recurse=False))
        if fused and find(f"{name}.gate_up_proj") is None:
            blocks.set_submodule(name, _separated(module, stored))


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
        return Experts(Expert(roles, width, hidden, activation) for _ in range(count))
