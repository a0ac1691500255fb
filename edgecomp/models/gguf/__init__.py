"""GGUF files: their headers, sizes and writing."""
