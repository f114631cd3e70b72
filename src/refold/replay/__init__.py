"""Replay past conversations with another prompt, model or tool set, and compare."""

from refold.replay.actions import LEVELS, CallPair, Level, compare_actions
from refold.replay.compare import Comparison, Control, compare
from refold.replay.conversations import ConversationComparison, DecisionComparison
from refold.replay.decision import Action, Call, Decision, decisions
from refold.replay.figures import Figures, Paired, Rate, Totals
from refold.replay.variant import NEXT_STEP, NOT_MEASURED, Variant, branch_name

__all__ = [
    "LEVELS",
    "NEXT_STEP",
    "NOT_MEASURED",
    "Action",
    "Call",
    "CallPair",
    "Comparison",
    "Control",
    "ConversationComparison",
    "Decision",
    "DecisionComparison",
    "Figures",
    "Level",
    "Paired",
    "Rate",
    "Totals",
    "Variant",
    "branch_name",
    "compare",
    "compare_actions",
    "decisions",
]
