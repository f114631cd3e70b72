"""A casino with books of its own, and an agent that plays there; see README.md."""
