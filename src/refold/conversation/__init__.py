"""The agent vocabulary: typed events, the fold of a conversation, importers and exporters.

::

    from refold.conversation import Conversation, rendered, transcript

    state = store.fold("call-42", Conversation).state
    for line in rendered(transcript(store.read("call-42"))):
        print(line)
"""

from refold.conversation.chat_export import Exported, Loss, export_messages, to_messages
from refold.conversation.events import (
    AgentConfigured,
    AgentUtterance,
    Effect,
    MemoryRead,
    MemoryWritten,
    ModelFailed,
    ModelRequest,
    ModelResponse,
    Party,
    Prompt,
    RetrievalCompleted,
    ScoreRecorded,
    SessionEnded,
    SessionStarted,
    StatePatched,
    Tool,
    ToolCall,
    ToolDecided,
    ToolResult,
    Usage,
    UserUtterance,
    Word,
)
from refold.conversation.fold import Conversation
from refold.conversation.governance import (
    AccessRecorded,
    ConsentRecorded,
    ConsentRevoked,
    DecisionRecorded,
    EffectCommitted,
    EffectReversed,
    ErasureExecuted,
    HoldPlaced,
    HoldReleased,
    RedactionApplied,
)
from refold.conversation.openai_chat import from_messages
from refold.conversation.rendering import Line, rendered
from refold.conversation.state import (
    Consent,
    ConversationState,
    Effected,
    Money,
    Occurrence,
    RefusedPatch,
    ToolAnswer,
    ToolUse,
    UsageTotals,
    Utterance,
)
from refold.conversation.transcript import transcript
from refold.conversation.voice import (
    CallHeld,
    CallTransferred,
    DtmfReceived,
    PlaybackInterrupted,
    SpeechStarted,
    SpeechStopped,
)
from refold.core.history import SessionForked

__all__ = [
    "AccessRecorded",
    "AgentConfigured",
    "AgentUtterance",
    "CallHeld",
    "CallTransferred",
    "Consent",
    "ConsentRecorded",
    "ConsentRevoked",
    "Conversation",
    "ConversationState",
    "DecisionRecorded",
    "DtmfReceived",
    "Effect",
    "EffectCommitted",
    "EffectReversed",
    "Effected",
    "ErasureExecuted",
    "Exported",
    "HoldPlaced",
    "HoldReleased",
    "Line",
    "Loss",
    "MemoryRead",
    "MemoryWritten",
    "ModelFailed",
    "ModelRequest",
    "ModelResponse",
    "Money",
    "Occurrence",
    "Party",
    "PlaybackInterrupted",
    "Prompt",
    "RedactionApplied",
    "RefusedPatch",
    "RetrievalCompleted",
    "ScoreRecorded",
    "SessionEnded",
    "SessionForked",
    "SessionStarted",
    "SpeechStarted",
    "SpeechStopped",
    "StatePatched",
    "Tool",
    "ToolAnswer",
    "ToolCall",
    "ToolDecided",
    "ToolResult",
    "ToolUse",
    "Usage",
    "UsageTotals",
    "UserUtterance",
    "Utterance",
    "Word",
    "export_messages",
    "from_messages",
    "rendered",
    "to_messages",
    "transcript",
]
