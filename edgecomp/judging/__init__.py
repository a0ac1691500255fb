"""What the measurements say: findings, verdict, remedies."""
