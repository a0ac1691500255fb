"""edgecomp: fit a language model onto one device, and prove what it kept."""

__version__ = "0.1.0"
