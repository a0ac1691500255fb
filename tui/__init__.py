"""A Textual app over the core's values and events; it has no logic of its own."""
