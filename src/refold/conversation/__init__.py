"""The agent vocabulary: typed events, the fold of a conversation, importers and exporters.

::

    from refold.conversation import Conversation, rendered, transcript

    state = store.fold("call-42", Conversation).state
    for line in rendered(transcript(store.read("call-42"))):
        print(line)
"""

from refold.conversation.attributes import Attributes
from refold.conversation.chat_export import to_messages
from refold.conversation.events import (
    AgentConfigured,
    AgentUtterance,
    LabelRecorded,
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
    ToolRelayed,
    ToolResult,
    Usage,
    UserUtterance,
    Word,
)
from refold.conversation.fold import Conversation
from refold.conversation.governance import (
    AccessDenied,
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
from refold.conversation.transcript import rendered, transcript
from refold.conversation.voice import (
    CallHeld,
    CallTransferred,
    DtmfReceived,
    PlaybackInterrupted,
    SpeechStarted,
    SpeechStopped,
)

__all__ = [
    "AccessDenied",
    "AccessRecorded",
    "AgentConfigured",
    "AgentUtterance",
    "Attributes",
    "CallHeld",
    "CallTransferred",
    "ConsentRecorded",
    "ConsentRevoked",
    "Conversation",
    "DecisionRecorded",
    "DtmfReceived",
    "EffectCommitted",
    "EffectReversed",
    "ErasureExecuted",
    "HoldPlaced",
    "HoldReleased",
    "LabelRecorded",
    "MemoryRead",
    "MemoryWritten",
    "ModelFailed",
    "ModelRequest",
    "ModelResponse",
    "Party",
    "PlaybackInterrupted",
    "Prompt",
    "RedactionApplied",
    "RetrievalCompleted",
    "ScoreRecorded",
    "SessionEnded",
    "SessionStarted",
    "SpeechStarted",
    "SpeechStopped",
    "StatePatched",
    "Tool",
    "ToolCall",
    "ToolDecided",
    "ToolRelayed",
    "ToolResult",
    "Usage",
    "UserUtterance",
    "Word",
    "from_messages",
    "rendered",
    "to_messages",
    "transcript",
]
