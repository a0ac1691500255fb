"""A Textual app over the core's values and events; it has no logic of its own."""

import os

# Textual reads this as it is imported. At its own 60 a key waits up to 17 ms for the next frame.
os.environ.setdefault("TEXTUAL_FPS", "120")
