"""ggml's RPC backend in the build of llama.cpp that is installed."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import llama_cpp


def rpc_file() -> Path | None:
    """The backend's library; None where the build has none."""
    return next(iter((Path(llama_cpp.__file__).parent / "lib").glob("libggml-rpc.*")), None)


def library() -> Any:
    """llama.cpp's own library, through which all of ggml is found."""
    return llama_cpp.llama_cpp._lib


def add_server(endpoint: str) -> None:
    """Let llama.cpp see the device that is offered at an address, after those it sees already."""
    add = library().ggml_backend_rpc_add_server
    add.restype, add.argtypes = ctypes.c_void_p, [ctypes.c_char_p]
    register = library().ggml_backend_register
    register.restype, register.argtypes = None, [ctypes.c_void_p]
    register(add(endpoint.encode()))
