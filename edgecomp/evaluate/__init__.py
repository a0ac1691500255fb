"""Quality: questions, answers, scores, divergence from the base."""
