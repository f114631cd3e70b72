"""Months of a log in a folder: written, hashed, read back. Which there are, a backend knows."""
