"""Whether torch computes here: one matrix product on each device.

A program of its own, so that a crash is only its own; prints one line of JSON.
"""

from __future__ import annotations

import json

import torch

SIZE = 64


def product(device: str) -> str:
    """What is wrong with the product that a device computes; empty where nothing is."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(SIZE, SIZE, generator=generator) for _ in range(2))
    found = (a.to(device) @ b.to(device)).cpu()
    return "" if torch.allclose(found, a @ b, atol=0.1) else "its product is wrong"


def main() -> None:
    """Say what computes."""
    titles = {"cpu": "the processor"}
    for index in range(torch.cuda.device_count()):
        titles[f"cuda:{index}"] = torch.cuda.get_device_name(index)
    faults: dict[str, str] = {}
    for device in titles:
        try:
            faults[device] = product(device)
        except RuntimeError as error:
            faults[device] = str(error).splitlines()[0]
    print(
        json.dumps({"version": torch.__version__, "titles": titles, "faults": faults}), flush=True
    )


if __name__ == "__main__":
    main()
