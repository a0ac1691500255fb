"""Every run's figures in one store that stays, and what can be asked of it."""
