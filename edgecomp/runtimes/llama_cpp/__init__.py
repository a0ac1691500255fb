"""llama.cpp, through llama-cpp-python, in a child process."""

from edgecomp.runtimes.llama_cpp.client import LlamaCpp

runtime = LlamaCpp()
