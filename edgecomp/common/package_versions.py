"""Versions of installed packages, as their metadata tell them."""

from __future__ import annotations

import importlib.metadata

UNKNOWN = "unknown"
LLAMA_CPP_PACKAGE = "llama-cpp-python"


def package_version(name: str) -> str:
    """The version of a distribution; "unknown" where its metadata are missing or damaged, as in a
    package that was copied into place."""
    try:
        version: str | None = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        version = None
    return version or UNKNOWN


def named_version(name: str) -> str:
    """A distribution's name and its version."""
    return f"{name} {package_version(name)}"
