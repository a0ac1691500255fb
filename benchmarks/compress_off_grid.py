"""Make a model that lies on no quantization grid.

The demo model's weights lie on a Q4_1 grid and its embedding on Q8_0's, so a method could find its
answer ready. Three exact rewritings of a Llama move every matrix of a block off it: norms are
folded into the matrices they feed, each head's values are rotated (and turned back by the output
projection), and each FFN neuron is scaled (and scaled back by the down projection). A short, seeded
fine-tune on WikiText-2's validation split then moves everything, the embedding too.

    EDGECOMP_DATA=... python benchmarks/compress_off_grid.py SOURCE DESTINATION
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

STEPS, LEARNING_RATE = 24, 1e-4
ROWS, LENGTH = 4, 256
Q8_BLOCK, Q8_LARGEST = 32, 127


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


def fine_tune(model: torch.nn.Module, ids: torch.Tensor, seed: int = 0) -> list[float]:
    """Train on random windows of the text `ids`; the loss of each step, nats a token."""
    random = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.0)
    losses = []
    for _ in range(STEPS):
        starts = torch.randint(0, len(ids) - LENGTH, (ROWS,), generator=random)
        batch = torch.stack([ids[start : start + LENGTH] for start in starts.tolist()])
        loss = model(batch, labels=batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def on_q8_grid(weight: torch.Tensor) -> float:
    """Share of the weights that are a whole number of their Q8_0 block's steps, to a hundredth."""
    blocks = weight.reshape(-1, Q8_BLOCK)
    steps = blocks * (Q8_LARGEST / blocks.abs().amax(1, keepdim=True).clamp_min(1e-30))
    return float(((steps - steps.round()).abs() < 0.01).float().mean())


def main(source: Path, destination: Path, text: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(source)
    ids = torch.tensor([tokenizer("The capital of France is Paris, and it lies on").input_ids])
    with torch.no_grad():
        before = model(ids).logits
        move_off_grid(model)
        change = (model(ids).logits - before).abs().max()
    embedding = model.get_input_embeddings().weight
    grids = [on_q8_grid(embedding.detach())]
    print(f"largest change of a logit by rewriting: {change:.2e}")
    losses = fine_tune(model, torch.tensor(tokenizer(text.read_text("utf-8")).input_ids))
    grids.append(on_q8_grid(embedding.detach()))
    print(f"loss, nats a token: {losses[0]:.3f} at step 1, {losses[-1]:.3f} at step {STEPS}")
    print("embedding on Q8_0's grid: {:.1%} before, {:.1%} after".format(*grids))
    model.save_pretrained(destination)
    tokenizer.save_pretrained(destination)


if __name__ == "__main__":
    main(
        Path(sys.argv[1]),
        Path(sys.argv[2]),
        Path(os.environ["EDGECOMP_DATA"]) / "calib_wikitext.txt",
    )
