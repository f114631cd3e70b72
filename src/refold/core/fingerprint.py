"""Fingerprints: whether what was made from handlers, classes and upcasters was made from these.

Two fingerprints differ where the code, the data or the classes behind them do, as far as
:mod:`refold.inspection.reach` sees. What a function calls in another module is not looked into, nor
what it reads from outside: whoever changes that gives another revision.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec

from refold.core.dispatch import Handler
from refold.core.event import Kind
from refold.core.registry import Registry
from refold.inspection.reach import ADDED as ADDED
from refold.inspection.reach import code_of as code_of

CODE_REVISION: Final = 4
"""Raised where :func:`code_of` says something else of the same code than it did before."""


def digest_of(*facts: object) -> str:
    """32 hexadecimal digits of some facts: texts, numbers, and what the functions here give."""
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:32]


def handlers_facts(handlers: Mapping[str, Handler], registry: Registry) -> list[object]:
    """What handlers by event type do, and how stored events come to them."""
    known = sorted(handlers.items())
    kinds = [(registry.current(Kind(name)).tag, shape_of(h.target)) for name, h in known]
    upcasting = [upcasting_facts(name, registry) for name, _ in known]
    return [kinds, upcasting, code_of(*((h.evolve, h.target) for _, h in known))]


def upcasting_facts(type_name: str, registry: Registry) -> list[object]:
    """The upcasters, splits and retirements on every way from a stored event to this type."""
    upcasts = registry.upcasts
    sources = upcasts.sources_of((type_name,))
    steps = [
        (kind.tag, step.into, code_of(step.function))
        for kind, step in upcasts.steps()
        if kind.type in sources
    ]
    return [*steps, *(name for name in upcasts.retirements() if name in sources)]


@lru_cache(maxsize=1_024)  # It takes a millisecond, and a class stays what it is.
def shape_of(cls: Any) -> object:
    """The JSON schema of a class, or its name where it has none."""
    try:
        known = getattr(cls, "model_json_schema", None)  # pydantic's
        return msgspec.json.schema(cls) if known is None else known()
    except (TypeError, ValueError, RuntimeError):
        return repr(cls)
