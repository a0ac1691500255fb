"""Runs for the store of results that nobody made."""

from __future__ import annotations

import datetime

from edgecomp.results.stored_run import Figure, StoredRun


def a_run(name: str = "Tiny", **changes: object) -> StoredRun:
    fields = {
        "at": datetime.datetime(2026, 11, 28, 12, tzinfo=datetime.UTC),
        "job": "fit", "model": name, "artifact": "/bundles/a", "runtime": "llama.cpp",
        "device": "a processor", "format": "Q4_0", "bits_per_weight": 4.5, "size_bytes": 1000,
        "busy": False, "version": "0", "verdict": "ship",
        "figures": (
            Figure(quantity="decode", subject="512 tokens", unit="tok/s", device="a processor",
                   predicted=90.0, measured=100.0, low=95.0, high=105.0, basis="measured kernels"),
            Figure(quantity="divergence", unit="nats", device="a processor", measured=0.05),
        ),
    }  # fmt: skip
    return StoredRun.model_validate(fields | changes)
