"""Evidence of one stream for others: a zip that a lawyer reads and an engineer verifies."""
