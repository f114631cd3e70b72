"""What code does, as facts: for telling whether something was made by the same code."""
