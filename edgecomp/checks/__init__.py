"""What an artifact must pass before it is judged."""
