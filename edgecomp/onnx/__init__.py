"""ONNX folders: what they hold, how they are made, what they need."""
