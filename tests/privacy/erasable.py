"""The kinds of stores that something can be taken out of."""

KINDS = ("memory", "sqlite")
ON_DISK = ("sqlite",)
