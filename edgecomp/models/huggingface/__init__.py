"""Hugging Face checkpoints: reading them, and the quantized formats written as such."""
