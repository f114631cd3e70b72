"""A replay on a Ray cluster: the same run, asked by workers on many machines.

from refold.ray import OnRay

on = OnRay("postgresql://agent@db.example/agents", "ray://head.example:10001")
replay(store, streams, variant, endpoint, on=on)
"""

from refold.ray.machines import OnRay

__all__ = ["OnRay"]
