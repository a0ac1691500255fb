"""What to make and whether it fits: memory, speed, placement, the planner."""
