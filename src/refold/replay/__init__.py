"""Replay past conversations with another prompt, model or tool set, and compare."""
