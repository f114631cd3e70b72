"""What a reader of one model API has: which calls are its, and requests and answers as events.

A reader is pure. What is odd voids itself alone and is told as
:class:`~refold.conversation.chat_shapes.Unread`, its pointer into the body; what would be misread
is refused with :class:`~refold.errors.InvalidEvent`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import msgspec

from refold.conversation.apis.sse import Frame
from refold.conversation.chat_shapes import Path, Unread, check_json
from refold.conversation.events import AgentConfigured, ModelResponse, Tool
from refold.conversation.openai_chat import Chat
from refold.core.event import Event
from refold.errors import InvalidEvent

Body = dict[str, Any]


class Asked(NamedTuple):
    """What a request says.

    ``agent`` is the agent as this request configures it: the prompt that comes before all others,
    model, parameters and tools. ``elements`` holds, for each element of the conversation in its
    order, the events that it is; none for one that only configures the agent.
    """

    agent: AgentConfigured
    elements: list[list[Event]]
    unread: list[Unread]


class Assembled(NamedTuple):
    """A streamed answer put together, as far as its frames go.

    ``body`` is what the API would have answered unstreamed; {} where no frame told of an answer.
    ``is_whole`` says that the API's own end was seen, ``error`` is what the API sent in place of
    the rest, None where it did not.
    """

    body: Body
    is_whole: bool
    error: Body | None = None


class Api(ABC):
    """One model API. ``name`` goes into ``model.request`` and ``provider`` into the agent's setup.

    ``lists`` are the top-level keys of a request whose elements come again in the next request.
    """

    name: ClassVar[str]
    provider: ClassVar[str]
    lists: ClassVar[tuple[str, ...]]
    _path: ClassVar[re.Pattern[str]]

    def matches(self, path: str) -> bool:
        """Whether a URL's path is a call of this API, behind whatever prefix; a query is none."""
        return self._path.search(path.partition("?")[0].rstrip("/")) is not None

    @abstractmethod
    def read_request(self, body: Mapping[str, Any], path: str = "") -> Asked:
        """What a request asks; ``path`` is that of its URL, where some APIs name the model.

        Raises :class:`~refold.errors.InvalidEvent` for what is no request of this API.
        """

    @abstractmethod
    def read_answer(
        self, body: Mapping[str, Any], response: ModelResponse, tools: Sequence[Tool] = ()
    ) -> Chat:
        """The events of an answer: ``model.response``, the words, the calls, or ``model.failed``.

        ``response`` has the message id and whatever else the answer does not say; calls get what
        the tool of their name says of them. Raises :class:`~refold.errors.InvalidEvent` where
        there is neither an answer nor an error.
        """

    @abstractmethod
    def assemble(self, frames: Iterable[Frame]) -> Assembled:
        """A streamed answer put together; frames that are not understood are passed over."""


def data_of(frame: Frame) -> Body:
    """The JSON object that a frame holds; {} for what holds none, as ``[DONE]``."""
    try:
        data = msgspec.json.decode(frame.data)
    except (msgspec.DecodeError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def params_of(body: Mapping[str, Any], others: Iterable[str], unread: list[Unread]) -> Body:
    """The parameters of a request: all that is set in it beside ``others``."""
    params: Body = {}
    for key in body.keys() - set(others):
        path: Path = [key]
        try:
            check_json(body[key], path)
        except InvalidEvent as error:
            unread.append(Unread("field", error.path, error.reason))
            continue
        if body[key] is not None:
            params[key] = body[key]
    return dict(sorted(params.items()))


def objects_in(items: object) -> list[Body]:
    """The objects in a list; none of what is no list."""
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def error_in(frame: Frame, data: Body) -> Body | None:
    """The error that a frame tells of in place of an answer, as an object; None for none."""
    said: Any = data.get("error")
    if said is None and frame.event == "error":
        said = data or frame.data
    return said if isinstance(said, dict | None) else {"message": str(said)}
