"""Random histories of conversations: what may happen in any order, at any time, to any stream."""

from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from refold import Event
from refold.conversation import (
    AgentConfigured,
    AgentUtterance,
    CallTransferred,
    DecisionRecorded,
    DtmfReceived,
    ModelFailed,
    ModelRequest,
    ModelResponse,
    Party,
    PlaybackInterrupted,
    Prompt,
    ScoreRecorded,
    SessionEnded,
    SessionStarted,
    StatePatched,
    ToolCall,
    ToolResult,
    Usage,
    UserUtterance,
)

STREAMS = ("call-1", "call-2", "chat-1")
NAMES = st.sampled_from(["ann", "bob", None])
KEYS = st.sampled_from(["p1", "p2", "+49 30 1", None])
MODELS = st.sampled_from(["small", "large", None])
CALL_IDS = st.sampled_from(["c1", "c2"])
TOOLS = st.sampled_from(["find", "book"])
MS = st.none() | st.integers(0, 5_000).map(float) | st.floats(0, 5_000)
# Scales far apart: sums of such as floats would lose the small ones.
AMOUNTS = st.none() | st.builds(
    lambda units, places: Decimal(units).scaleb(-places),
    st.integers(-(10**12), 10**12),
    st.integers(0, 15),
)
# Around midnight, so that days differ, and in no order.
MOMENTS = st.none() | st.integers(-3_000_000, 3_000_000).map(lambda us: 1_772_323_200_000_000 + us)
PARTIES = st.lists(
    st.builds(
        Party,
        role=st.sampled_from(["customer", "customer", "agent"]),
        name=NAMES,
        id=KEYS,
        address=st.sampled_from(["p2", "+49 30 2", None]),
    ),
    max_size=3,
)
PROMPTS = st.none() | st.builds(
    Prompt, text=st.sampled_from(["Be kind.", "Be brief."]), id=st.sampled_from(["v7", None])
)
USAGES = st.none() | st.builds(
    Usage,
    input_tokens=st.integers(0, 10**6),
    output_tokens=st.integers(0, 10**6),
    cached_tokens=st.integers(0, 10**6),
)
PAYLOADS: st.SearchStrategy[Any] = st.one_of(
    st.builds(SessionStarted, channel=st.sampled_from(["voice", "chat"]), parties=PARTIES),
    st.builds(SessionEnded, reason=st.sampled_from(["completed", "error"]), error=NAMES),
    st.builds(
        AgentConfigured,
        prompt=PROMPTS,
        model=MODELS,
        agent=st.sampled_from(["desk", None]),
        version=st.sampled_from(["1", None]),
    ),
    st.builds(UserUtterance, text=st.just("Hi")),
    st.builds(AgentUtterance, text=st.just("Hello")),
    st.just(ModelRequest(api="chat")),
    st.just(ModelFailed(error="429")),
    st.builds(
        ModelResponse,
        model=MODELS,
        usage=USAGES,
        first_token_ms=MS,
        latency_ms=MS,
        cost=AMOUNTS,
        currency=st.sampled_from(["USD", "EUR"]),
    ),
    st.builds(ToolCall, call_id=CALL_IDS, name=TOOLS, effect=st.sampled_from(["read", "unknown"])),
    st.builds(
        ToolResult,
        call_id=CALL_IDS,
        is_error=st.booleans(),
        latency_ms=MS,
        name=st.none() | TOOLS,
    ),
    st.builds(
        DecisionRecorded,
        amount=AMOUNTS,
        currency=st.sampled_from(["EUR", None]),
        reasons=st.lists(st.just("late"), max_size=2),
    ),
    st.builds(ScoreRecorded, name=st.just("reward"), value=st.floats(0, 1), rater=st.just("r")),
    st.just(StatePatched(patch=[])),
    st.just(DtmfReceived(digits="1")),
    st.just(PlaybackInterrupted(played_text="He")),
    st.just(CallTransferred(to_party="desk 2")),
)
EVENTS = st.builds(
    lambda payload, subject, at: Event.of(
        payload, metadata=None if subject is None else {"subject": subject}, occurred_at=at
    ),
    PAYLOADS,
    st.none() | st.none() | st.none() | st.sampled_from(["p1", "p3", ""]),
    MOMENTS,
)
APPENDS = st.lists(
    st.tuples(st.sampled_from(STREAMS), st.lists(EVENTS, min_size=1, max_size=6)), max_size=12
)
"""Appends to a few streams: ``(stream, events)``."""
