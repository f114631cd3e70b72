"""Deterministic checks of conversations and of single answers: built in, or the user's own."""
