"""Stages that are kept, go on where they stopped, and run in order."""
