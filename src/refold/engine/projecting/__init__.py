"""Keeping projections: where their rows stand, moving them on, and setting them right."""
