"""Replay past conversations with another prompt, model or tool set, and compare.

from refold.replay import ChatEndpoint, Variant, compare, replay

variant = Variant(prompt="Verify who is calling first.")
replay(store, ["call-42"], variant, ChatEndpoint("http://127.0.0.1:8000/v1", model="small"))
print(compare(store, ["call-42"], variant).figures.by_decision)
"""

from refold.replay.arms import Question
from refold.replay.candidate import ChatEndpoint, ModelFailure
from refold.replay.clients import ClientCandidate
from refold.replay.compare import compare
from refold.replay.datasets import Dataset
from refold.replay.decision import Action, Call, Price, decisions
from refold.replay.labels import label
from refold.replay.recorded import compare_recorded
from refold.replay.replays import find_replay, replays
from refold.replay.request import ChatRequest
from refold.replay.runner import replay, select
from refold.replay.variant import Variant, branch_name
from refold.replay.verify import verify

__all__ = [
    "Action",
    "Call",
    "ChatEndpoint",
    "ChatRequest",
    "ClientCandidate",
    "Dataset",
    "ModelFailure",
    "Price",
    "Question",
    "Variant",
    "branch_name",
    "compare",
    "compare_recorded",
    "decisions",
    "find_replay",
    "label",
    "replay",
    "replays",
    "select",
    "verify",
]
