"""llama.cpp's worker on a machine whose cards are the devices offered at OFFLOAD_SERVERS."""

from __future__ import annotations

import os

import llama_cpp
from rpc_library import add_server

from edgecomp.processes.child import serve
from edgecomp.runtimes.llama_cpp.__main__ import HANDLERS

if __name__ == "__main__":
    llama_cpp.llama_backend_init()
    for endpoint in os.environ["OFFLOAD_SERVERS"].split(","):
        add_server(endpoint)
    serve(HANDLERS)
