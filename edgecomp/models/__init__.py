"""What a model is, read from its headers: tensors, sizes, template."""
