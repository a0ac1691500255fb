"""Whole jobs: fit, evaluate, improve, measure."""
