"""What a run does, as values and files."""
