"""What a reader of one model API has: which calls are its, and requests and answers as events.

A reader is pure. What is odd voids itself alone and is told as
:class:`~refold.conversation.chat_shapes.Unread`, its pointer into the body; what would be misread
is refused with :class:`~refold.errors.InvalidEvent`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final, NamedTuple

import msgspec
from msgspec.structs import replace

from refold.conversation import chat_shapes as shapes
from refold.conversation.apis.sse import Frame
from refold.conversation.chat_shapes import Unread
from refold.conversation.events import AgentConfigured, ModelResponse, Prompt, Tool
from refold.conversation.openai_chat import Chat, text_or_none
from refold.core.event import Event
from refold.errors import InvalidEvent

Body = dict[str, Any]

DONE: Final = "[DONE]"
"""What the last frame of a chat completion holds."""
_MODEL: Final = re.compile(r"/(?:models|deployments)/([^/:?]+)[/:]")
_OF_ALL: Final = ("model", "tools", "stream", "metadata")
ASKING: Final = ("user", "safety_identifier", "prompt_cache_key", "store", "stream_options")
"""The keys of OpenAI's requests that say who asks, or what becomes of the answer."""


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

    ``lists`` are the top-level keys of a request whose elements come again in the next request,
    ``talk`` that of the conversation; ``asks`` names what else there says what is asked.
    """

    name: ClassVar[str]
    provider: ClassVar[str]
    lists: ClassVar[tuple[str, ...]]
    talk: ClassVar[str]
    asks: ClassVar[str] = ""
    _path: ClassVar[re.Pattern[str]]
    _no_params: ClassVar[tuple[str, ...]]
    """The keys of a request that are no parameters of the agent, beside those of all APIs."""
    _goes_on: ClassVar[tuple[str, ...]] = ()
    """The keys that say that the conversation began elsewhere, where its calls may be."""

    def matches(self, path: str) -> bool:
        """Whether a URL's path is a call of this API, behind whatever prefix; a query is none."""
        return self._path.search(path.partition("?")[0].rstrip("/")) is not None

    def read_request(self, body: Mapping[str, Any], path: str = "") -> Asked:
        """What a request asks; ``path`` is that of its URL, where some APIs name the model.

        A prompt that comes after others have spoken configures the agent anew: it is an element's
        event. Raises :class:`~refold.errors.InvalidEvent` for what is no request of this API.
        """
        body = self._body(body)
        items = body.get(self.talk)
        if not isinstance(items, list):
            raise InvalidEvent(f"a request of {self.name} has {self.talk}", path=f"/{self.talk}")
        unread: list[Unread] = []
        named = _MODEL.search(path)
        others = {self.talk, *_OF_ALL, *self._no_params}
        agent = AgentConfigured(
            model=text_or_none(body.get("model")) or (named[1] if named else None),
            provider=self.provider,
            params=_params({key: body[key] for key in body.keys() - others}, unread),
            tools=self._tools(body, unread),
        )
        said = [self._prompt(body, unread)]
        elements = self._elements(items, agent, unread)
        for element in elements:
            if not (element and isinstance(configured := element[0].data, AgentConfigured)):
                break
            said.append(configured.prompt.text if configured.prompt is not None else None)
            element.clear()
        if any(body.get(key) for key in self._goes_on):
            unread = [one for one in unread if one.what != "result"]
        prompts = [text for text in said if text is not None]
        prompt = Prompt("\n\n".join(prompts)) if prompts else None
        return Asked(replace(agent, prompt=prompt), elements, unread)

    @abstractmethod
    def read_answer(self, body: Any, response: ModelResponse, tools: Sequence[Tool] = ()) -> Chat:
        """The events of an answer: ``model.response``, the words, the calls, or ``model.failed``.

        ``response`` has the message id and whatever else the answer does not say; calls get what
        the tool of their name says of them. Raises :class:`~refold.errors.InvalidEvent` where
        there is neither an answer nor an error.
        """

    def assemble(self, frames: Iterable[Frame]) -> Assembled:
        """A streamed answer put together; frames that are not understood are passed over."""
        read = [(frame, data_of(frame)) for frame in frames]
        body, is_whole = self._joined([data for _, data in read])
        errors = [error for error in (error_in(*one) for one in read) if error is not None]
        return Assembled(body, is_whole and not errors, errors[0] if errors else None)

    @abstractmethod
    def _joined(self, said: Sequence[Body]) -> tuple[Body, bool]:
        """The body that the objects of a stream make, and whether its end is among them."""

    def _body(self, body: object) -> Mapping[str, Any]:
        """A request or an answer in the one form that is read; {} for what is no object."""
        return body if isinstance(body, Mapping) else {}

    def _prompt(self, _body: Mapping[str, Any], _unread: list[Unread], /) -> str | None:
        """What a request says to the model beside the conversation; None for nothing."""
        return None

    @abstractmethod
    def _tools(self, body: Mapping[str, Any], unread: list[Unread]) -> list[Tool]:
        """The tools that a request offers."""

    @abstractmethod
    def _elements(
        self, items: list[Any], agent: AgentConfigured, unread: list[Unread]
    ) -> list[list[Event]]:
        """The events of each element of the conversation."""


def data_of(frame: Frame) -> Body:
    """The JSON object that a frame holds; OpenAI's last as its type, {} for what holds none."""
    if frame.data.strip() == DONE:
        return {"type": DONE}
    try:
        data = msgspec.json.decode(frame.data)
    except (msgspec.DecodeError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def error_in(frame: Frame, data: Body) -> Body | None:
    """The error that a frame tells of in place of an answer, as an object; None for none."""
    said: Any = data.get("error")
    if said is None and "error" in (frame.event, data.get("type")):
        said = data or frame.data
    return said if isinstance(said, dict | None) else {"message": str(said)}


def objects_in(items: object) -> list[Body]:
    """The objects in a list; none of what is no list."""
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def tools_in(items: object, path: str, unread: list[Unread]) -> list[Tool]:
    """The tools of a list in the shape of chat completions; none where nothing is given."""
    tools, odd = shapes.read_tools([] if items is None else items)
    unread += [one._replace(pointer=path + one.pointer) for one in odd]
    return tools


def _params(given: Body, unread: list[Unread]) -> Body:
    """What of the fields is set and can be kept."""
    params: Body = {}
    for key, value in sorted(given.items()):
        try:
            shapes.check_json(value, [key])
        except InvalidEvent as error:
            unread.append(Unread("field", error.path, error.reason))
            continue
        if value is not None:
            params[key] = value
    return params
