"""Tables and progress for the command line."""
