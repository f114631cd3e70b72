"""How the shapes of stored events change: retired types, and a survey of what a store holds.

Classes and upcasters are registered with :func:`refold.event` and :func:`refold.upcast`; what is
here goes with them::

    from refold.schemas import retire

    retire("mood.guessed", reason="it was never right")
"""

from typing import Final

from refold.core.registry import default_registry
from refold.core.schema_inventory import Example, ReadAs, StepTaken, StoredSchema, survey, tried

retire: Final = default_registry.retire

__all__ = ["Example", "ReadAs", "StepTaken", "StoredSchema", "retire", "survey", "tried"]
