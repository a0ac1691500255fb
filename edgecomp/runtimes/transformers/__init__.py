"""transformers in a child process, on the processor or on a card.

A quantized folder is run by the kernels that transformers uses for it where these are installed,
and else as the floats that its codes stand for, which no rounding changes.
"""

from edgecomp.runtimes.transformers.client import TransformersRuntime

runtime = TransformersRuntime()
