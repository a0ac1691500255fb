"""Make a model off any quantization grid without changing what it computes.

The demo model's weights lie on a Q4_1 grid, so any 4-bit method could find its answer ready. Three
exact rewritings of a Llama move every matrix off it: norms are folded into the matrices they feed,
each head's values are rotated (and turned back by the output projection), and each FFN neuron is
scaled (and scaled back by the down projection).

    python benchmarks/compress_off_grid.py SOURCE DESTINATION
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def move_off_grid(model: torch.nn.Module, seed: int = 0) -> None:
    """Rewrite a Llama in place."""
    random = torch.Generator().manual_seed(seed)
    config = model.config
    size = config.hidden_size // config.num_attention_heads
    shared = config.num_attention_heads // config.num_key_value_heads
    for layer in model.model.layers:
        attention, mlp = layer.self_attn, layer.mlp
        for norm, readers in (
            (layer.input_layernorm, (attention.q_proj, attention.k_proj, attention.v_proj)),
            (layer.post_attention_layernorm, (mlp.gate_proj, mlp.up_proj)),
        ):
            for linear in readers:
                linear.weight.mul_(norm.weight)
            norm.weight.fill_(1)
        for head in range(config.num_key_value_heads):
            turn = torch.linalg.qr(torch.randn(size, size, generator=random)).Q
            rows = slice(head * size, (head + 1) * size)
            attention.v_proj.weight[rows] = turn @ attention.v_proj.weight[rows]
            for query in range(head * shared, (head + 1) * shared):
                columns = slice(query * size, (query + 1) * size)
                output = attention.o_proj.weight
                output[:, columns] = output[:, columns] @ turn.T
        scale = torch.exp(0.2 * torch.randn(config.intermediate_size, generator=random))
        mlp.up_proj.weight.mul_(scale[:, None])
        mlp.down_proj.weight.div_(scale)


def main(source: Path, destination: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(source)
    ids = torch.tensor([tokenizer("The capital of France is Paris, and it lies on").input_ids])
    with torch.no_grad():
        before = model(ids).logits
        move_off_grid(model)
        change = (model(ids).logits - before).abs().max()
    print(f"largest change of a logit: {change:.2e}")
    model.save_pretrained(destination)
    tokenizer.save_pretrained(destination)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
