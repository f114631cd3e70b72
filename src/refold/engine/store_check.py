"""Whether what a call was given is a store of the kind that it takes."""

from __future__ import annotations

from refold.engine.aio import AsyncStore
from refold.engine.store import Store
from refold.errors import UsageError, shown


def check_store(store: object, *, call: str, instead: str) -> None:
    """Refuse what is no store of the kind that a call takes; ``instead`` says what to do."""
    wanted = AsyncStore if call.endswith("_async") else Store
    if not isinstance(store, wanted):
        raise UsageError(
            f"{call} takes a refold.{wanted.__name__}, not {_named(store)}: {instead}",
            argument="store",
        )


def _named(value: object) -> str:
    return f"an {type(value).__name__}" if type(value).__name__[:1] == "A" else shown(value)
