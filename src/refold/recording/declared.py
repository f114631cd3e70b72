"""What the tools of this process were declared to do, by their names."""

from __future__ import annotations

import threading
from typing import Final

from refold.conversation.events import Effect

_declared: Final[dict[str, Effect]] = {}
_lock: Final = threading.Lock()


def declare(name: str, effect: Effect) -> None:
    """A tool of this name has this effect; ``unknown`` where two of one name have two."""
    with _lock:
        _declared[name] = effect if _declared.get(name, effect) == effect else "unknown"


def declared_effects() -> dict[str, Effect]:
    """All that was declared, but for what is ``unknown``."""
    with _lock:
        return {name: effect for name, effect in sorted(_declared.items()) if effect != "unknown"}


def effect_of(name: str) -> Effect:
    """What the tool of a name was declared to do; ``unknown`` where nobody said."""
    return _declared.get(name, "unknown")
