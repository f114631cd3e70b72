"""The kinds of stores that something can be taken out of."""

KINDS = ("memory", "sqlite", "postgres")
ON_DISK = ("sqlite", "postgres")
