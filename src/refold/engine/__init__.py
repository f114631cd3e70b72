"""The engine: what a store does with any backend."""
