"""Replay past conversations with another prompt, model or tool set, and compare.

from refold.replay import ChatEndpoint, Variant, compare, replay

variant = Variant(prompt="Verify who is calling first.")
replay(store, ["call-42"], variant, ChatEndpoint("http://127.0.0.1:8000/v1", model="small"))
print(compare(store, ["call-42"], variant).figures.by_decision)
"""

from refold.replay.actions import LEVELS, CallPair, Level, compare_actions
from refold.replay.candidate import Candidate, ModelFailure
from refold.replay.client import ChatEndpoint
from refold.replay.compare import Comparison, Control, compare
from refold.replay.conversations import ConversationComparison, DecisionComparison
from refold.replay.decision import Action, Call, Decision, decisions
from refold.replay.figures import Figures, Paired, Rate, Totals
from refold.replay.prices import Price
from refold.replay.request import ChatRequest
from refold.replay.run import FailedDecision, ReplaySummary
from refold.replay.runner import replay, select
from refold.replay.variant import NEXT_STEP, NOT_MEASURED, Variant, branch_name
from refold.replay.verify import Mismatch, Verification, verify

__all__ = [
    "LEVELS",
    "NEXT_STEP",
    "NOT_MEASURED",
    "Action",
    "Call",
    "CallPair",
    "Candidate",
    "ChatEndpoint",
    "ChatRequest",
    "Comparison",
    "Control",
    "ConversationComparison",
    "Decision",
    "DecisionComparison",
    "FailedDecision",
    "Figures",
    "Level",
    "Mismatch",
    "ModelFailure",
    "Paired",
    "Price",
    "Rate",
    "ReplaySummary",
    "Totals",
    "Variant",
    "Verification",
    "branch_name",
    "compare",
    "compare_actions",
    "decisions",
    "replay",
    "select",
    "verify",
]
