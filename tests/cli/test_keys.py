"""`refold keys`, and every command through the table [privacy] of refold.toml."""

from __future__ import annotations
