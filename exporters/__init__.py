"""Artifact writers, found by the core through entry points."""
