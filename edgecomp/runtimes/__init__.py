"""Runtimes: the only code that talks to a native inference library."""
