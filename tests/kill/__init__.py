"""Kills of `edgecomp fit` at random moments; what a rerun makes is compared byte for byte."""
