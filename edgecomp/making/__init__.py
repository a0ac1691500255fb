"""One maker a kind of artifact, and the stages before it."""
