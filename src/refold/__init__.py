"""refold: every input and output of an agent as an immutable event in an append-only log.

State is a fold over events, so it can be had at any moment, along a branch that never happened,
and again with another prompt::

    import refold

    store = refold.open("agents.db")
    store.append("call-42", [refold.Event("user.utterance", {"text": "Hi"})])
    for recorded in store.read("call-42"):
        print(recorded.id, recorded.type, recorded.data)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from refold._version import __version__
from refold.errors import Conflict, InvalidEvent, NotFound, RefoldError, Rejected

if TYPE_CHECKING:
    from refold.connect import open, open_async
    from refold.core.diff import Change, diff, diff_states
    from refold.core.event import Event
    from refold.core.expected import ANY, NO_STREAM, STREAM_EXISTS
    from refold.core.fold import Decider, Fold, Folded
    from refold.core.query import Query
    from refold.core.recorded import Recorded
    from refold.core.registry import Registry, event, upcast
    from refold.engine.aio import AsyncStore
    from refold.engine.append import Append
    from refold.engine.branch import Branch
    from refold.engine.store import Store
    from refold.engine.subscription import Subscription
    from refold.ports import Appended
    from refold.tools import tool

# Imported when first asked for: `refold --help` must not wait for a store.
_NAMES = {
    "connect": ["open", "open_async"],
    "core.diff": ["Change", "diff", "diff_states"],
    "core.event": ["Event"],
    "core.expected": ["ANY", "NO_STREAM", "STREAM_EXISTS"],
    "core.fold": ["Decider", "Fold", "Folded"],
    "core.query": ["Query"],
    "core.recorded": ["Recorded"],
    "core.registry": ["Registry", "event", "upcast"],
    "engine.aio": ["AsyncStore"],
    "engine.append": ["Append"],
    "engine.branch": ["Branch"],
    "engine.store": ["Store"],
    "engine.subscription": ["Subscription"],
    "ports": ["Appended"],
    "tools": ["tool"],
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [
    "ANY",
    "NO_STREAM",
    "STREAM_EXISTS",
    "Append",
    "Appended",
    "AsyncStore",
    "Branch",
    "Change",
    "Conflict",
    "Decider",
    "Event",
    "Fold",
    "Folded",
    "InvalidEvent",
    "NotFound",
    "Query",
    "Recorded",
    "RefoldError",
    "Registry",
    "Rejected",
    "Store",
    "Subscription",
    "__version__",
    "diff",
    "diff_states",
    "event",
    "open",
    "open_async",
    "tool",
    "upcast",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'refold' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"refold.{_MODULE_OF[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
