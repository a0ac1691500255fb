"""The process that holds torch."""
