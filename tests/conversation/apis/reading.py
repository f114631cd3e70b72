"""What the readers' tests share: requests and answers as events, and any JSON in their streams."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from hypothesis import strategies as st

from refold.conversation.apis.base import Api
from refold.conversation.apis.sse import Frame
from refold.conversation.events import ModelFailed, ModelResponse, Tool
from refold.errors import InvalidEvent
from tests.conversation.apis.frames import texts

Body = dict[str, Any]
SLOTS = Tool("slots", "Free times.", {"type": "object"})


def reader_of(api: Api) -> Callable[..., tuple[list[Any], list[tuple[str, str]]]]:
    """The events of an answer of an API, and what of it is not understood."""

    def read(body: Any, tools: list[Tool] | None = None) -> tuple[list[Any], list[tuple[str, str]]]:
        chat = api.read_answer(body, ModelResponse(message_id="m1"), tools or [])
        return [event.data for event in chat.events], [(u.what, u.pointer) for u in chat.unread]

    return read


def asker_of(api: Api, talk: str) -> Callable[..., list[list[Any]]]:
    """The events of each element of a request of an API, which has them at a key."""

    def asked(*items: Any, **more: Any) -> list[list[Any]]:
        request = api.read_request({talk: list(items), **more})
        return [[event.data for event in one] for one in request.elements]

    return asked


def responses_of(own_id: str, model: str, reason: str) -> Callable[..., ModelResponse]:
    """Responses of one answer, each with fields of its own."""
    common = {"response_id": own_id, "model": model, "finish_reason": reason, "message_id": "m1"}
    return lambda **fields: ModelResponse(**{**common, **fields})


def any_json(keys: Sequence[str], *more: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """JSON values whose objects have keys of an API."""
    leaves = st.one_of(st.none(), st.integers(-1, 2), texts, *more)
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(keys), inner, max_size=4)
        ),
        max_leaves=12,
    )


def assert_read_or_refused(api: Api, frames: Iterable[Frame]) -> None:
    """Whatever comes is put together, and is an answer, a failure, or refused by name."""
    made = api.assemble(frames)
    try:
        events = api.read_answer(made.body, ModelResponse()).events
    except InvalidEvent:
        return
    assert isinstance(events[0].data, ModelResponse | ModelFailed)
