"""refold: every input and output of an agent as an immutable event in an append-only log.

State is a fold over events, so it can be had at any moment, along a branch that never happened,
and again with another prompt::

    import refold

    store = refold.open("agents.db")
    store.append("call-42", [refold.Event("user.utterance", {"text": "Hi"})])
    for recorded in store.read("call-42"):
        print(recorded.id, recorded.type, recorded.data)
"""

from refold._version import __version__
from refold.connect import open, open_async
from refold.core.diff import Change, HistoryDiff, diff, diff_states
from refold.core.event import Event, Registry, event, upcast
from refold.core.expected import ANY, NO_STREAM, STREAM_EXISTS
from refold.core.fold import Decider, Fold, Folded
from refold.core.recorded import Recorded
from refold.engine.aio import AsyncStore
from refold.engine.branch import Branch
from refold.engine.results import Append, Appended
from refold.engine.store import Store
from refold.errors import Conflict, InvalidEvent, NotFound, RefoldError, Rejected

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
    "HistoryDiff",
    "InvalidEvent",
    "NotFound",
    "Recorded",
    "RefoldError",
    "Registry",
    "Rejected",
    "Store",
    "__version__",
    "diff",
    "diff_states",
    "event",
    "open",
    "open_async",
    "upcast",
]
