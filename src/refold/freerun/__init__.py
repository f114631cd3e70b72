"""A candidate's own history grows: recorded conversations run on, without touching the world.

from refold.freerun import FreeRun
from refold.replay import Variant, compare, replay

said = replay(store, ["call-42"], Variant(prompt="…"), endpoint, mode=FreeRun())
print(compare(store, ["call-42"], said.variant).figures.course)
"""

from refold.freerun.mode import FreeRun
from refold.freerun.own_code import OwnCode
from refold.freerun.policies import Fixed, LiveRead, Simulated, ToolPolicies

__all__ = ["Fixed", "FreeRun", "LiveRead", "OwnCode", "Simulated", "ToolPolicies"]
