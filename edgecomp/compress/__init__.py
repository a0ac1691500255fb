"""Compression methods, one a file."""
