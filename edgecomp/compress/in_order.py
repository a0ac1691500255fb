"""A block's linears solved in the order they run, in the one pass that also gives its outputs.

Each batch of the calibration runs in a greenlet of its own, which waits where a linear is about to
read. When all of them wait there, that linear's Hessian is whole; the solver puts its weights in,
and the batches go on through them. So a layer is solved for the inputs it will really get (GPTQ's
own code calls this true sequential), and a block costs one forward pass instead of two.

What waits is in memory: at the widest linear its inputs for the whole calibration. Beyond
`WAITING_BYTES` the statistics are gathered beforehand, from the block as it came.
"""

from __future__ import annotations

from collections.abc import Callable

from greenlet import getcurrent, greenlet
from torch import Tensor, nn

from edgecomp.compress.blocks import Block, attached_hooks, batches
from edgecomp.compress.experts import Expert
from edgecomp.compress.freed_memory import return_freed_memory
from edgecomp.compress.hessian import GroupSums, Hessians, TokenWeights, gather_hessians
from edgecomp.recipes.compression_limits import WAITING_BYTES

WIDE_COLUMNS = 4096
"""Where what was freed goes back to the system first: half of H is 32 MB or more. Before narrower
ones, taking it again would cost a tenth of the block's time."""


def hessians_in_order(block: Block, weights: TokenWeights | None = None) -> Hessians:
    """H float32 for each group of linears that read one tensor, in the order they run; before it
    asks for the next, the caller changes the weights of that group. Where tokens count differently
    in each linear, each comes alone.

    Where one pass was enough, the block's outputs have taken the place of its inputs at the end.
    """
    widest = max(linear.in_features for linear in block.linears.values())
    if 4 * block.tokens * widest <= WAITING_BYTES:
        yield from _in_one_pass(block, weights)
        return
    hessians = gather_hessians(block, weights)
    while hessians:
        # Each goes as soon as its layers are done: a wide one is hundreds of megabytes.
        yield hessians.pop(0)


def _in_one_pass(block: Block, weights: TokenWeights | None) -> Hessians:
    groups = block.shared_inputs()
    sums = {group[0]: GroupSums(block, group, weights) for group in groups}
    hooks = (
        block.linears[name].register_forward_pre_hook(_gather(block, name, total))
        for name, total in sums.items()
    )
    passes = [(greenlet(block.run), batch) for batch in batches(block.hidden)]
    with attached_hooks(hooks):
        for group in groups:
            if block.linears[group[0]].in_features >= WIDE_COLUMNS:
                return_freed_memory()
            block.begun = 0
            for forward, batch in passes:
                forward.switch(*() if forward else (batch.to(block.device),))
                tokens = batch.shape[0] * batch.shape[1]
                block.begun += tokens
                block.count_work(read_tokens=tokens / len(groups))
            yield from sums.pop(group[0]).means()
        if not block.rounded_when_written:
            for forward, batch in passes:
                block.replace(batch, forward.switch())
            block.advanced = True


def _gather(
    block: Block, name: str, total: GroupSums
) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    owner = block.module.get_submodule(name.rpartition(".")[0])

    def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        rows = inputs[0].reshape(-1, inputs[0].shape[-1]).float()
        total.add(rows, block.tokens_of(name, len(rows)))
        routed = owner.tokens if isinstance(owner, Expert) else None
        getcurrent().parent.switch()
        if routed is not None:
            # Other batches have been here meanwhile: this one's next linear asks for its own.
            owner.tokens = routed

    return hook
