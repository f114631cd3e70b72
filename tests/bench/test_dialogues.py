"""The conversations that read models are measured on."""

from itertools import islice

import msgspec

import refold
from bench.dialogues import EVENTS_EACH, REPEAT, events, spent
from refold.conversation import Conversation, SessionEnded
from refold.core.event import Kind
from refold.core.registry import default_registry
from refold.projections import Projector
from refold.readmodels import costs
from refold.testing import as_recorded


def test_every_event_is_of_the_vocabulary() -> None:
    """Each payload is what its class reads, with nothing left over."""
    for made in events(3 * EVENTS_EACH):
        cls = default_registry.class_of(Kind(made.type))
        assert set(made.data) <= {field.name for field in msgspec.structs.fields(cls)}
        assert msgspec.convert(made.data, cls)


def test_a_conversation_has_its_beginning_and_its_end() -> None:
    """Fifty events: sixteen answers, eight tool calls with their results, an end."""
    typed: list[object] = [
        msgspec.convert(made.data, default_registry.class_of(Kind(made.type)))
        for made in islice(events(200), EVENTS_EACH)
    ]
    assert isinstance(typed[-1], SessionEnded)
    state = Conversation.run(as_recorded(typed)).state
    assert (state.status, state.usage.responses, len(state.tool_calls)) == ("ended", 16, 8)
    assert not state.open_calls


def test_logs_of_any_length_come_to_the_same() -> None:
    """What is spent in the part that repeats does not depend on how often it does."""
    pool = events(6_000)
    found = []
    for length in (REPEAT, 3 * REPEAT):
        with refold.open("memory:") as store:
            for stream in range(length // 100):
                start = stream * 300 % len(pool)
                made = [refold.Event(one.type, one.data) for one in pool[start : start + 100]]
                store.append(f"session-{stream}", made)
            projector = Projector(store, [costs])
            projector.catch_up()
            rows = projector.query(
                "SELECT model, cost, answers, input_tokens, output_tokens FROM costs"
            )
        found.append(spent(rows, length))
    assert found[0] == found[1]
