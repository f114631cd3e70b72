"""Proof: a Merkle tree over the log, its signed heads, and what anyone can check of them."""
