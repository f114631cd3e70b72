"""The tools of an agent that are its own code: each run recorded as a call and what came of it.

::

    @refold.tool(effect="irreversible")
    def send_invoice(customer: str, amount: Decimal) -> str: ...

    with refold.tool("send_invoice", effect="irreversible", arguments=asked) as running:
        running.result = client.post(...)

A run is recorded in the conversation in force: in the block of a recorder
(:mod:`refold.recording`), else where capture records (:mod:`refold.capture`). Where the history
holds the model's call already, the run is that call's, and nothing is told twice; the rules stand
in docs/how-to/record-tools.md. Recording that fails never fails the tool: it is logged, once, to
``refold.tools``.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from contextvars import ContextVar, Token
from functools import partial, wraps
from typing import Any, Final, Self, TypeVar, get_args, overload

import msgspec

from refold.capture.threads import current as conversation_in_force
from refold.capture.writer import writer_in_force
from refold.conversation.events import Effect
from refold.errors import UsageError
from refold.recording import tool_run
from refold.recording.declared import declare
from refold.recording.in_force import Tell, Telling, Told, in_force
from refold.recording.tool_run import ToolRun, began, ended, error_text

F = TypeVar("F", bound=Callable[..., Any])

_log: Final = logging.getLogger("refold.tools")
_said: Final[set[str]] = set()
"""What was logged, and is not again."""
_inside: Final[ContextVar[Any]] = ContextVar("refold.tools.inside", default=None)
"""Where the run that goes on here is recorded: by whom, and the conversation that has a name."""

standing_in: Final[ContextVar[Callable[[str, Any, str | None], str] | None]] = ContextVar(
    "refold.tools.standing_in", default=None
)
"""Answers in the place of a decorated function: given the tool, its arguments and the call's id.

It gives the text that the agent was told. The function does not run, and nothing is recorded.
"""


class RunningTool:
    """A run of a tool, for a ``with`` or ``async with`` block.

    In there ``result`` is set to what came of it, and ``is_error`` where that says that it failed.
    An exception that leaves the block is recorded as the result, an error, and goes on.
    """

    def __init__(self, name: str, arguments: Any, **known: Any) -> None:
        self.result: Any = None
        self.is_error = False
        self._name, self._arguments, self._known = name, arguments, known
        self._run: ToolRun | None = None
        self._tell: Tell | None = None
        self._outer: Token[Any] | None = None
        self._since, self._is_awaited = 0.0, False

    def __enter__(self) -> Self:
        self._begin()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._go_out() if self._is_awaited and error is None else self._end(error)

    async def __aenter__(self) -> Self:
        try:
            await _recorded(self._begin())
        except asyncio.CancelledError as error:
            self._end(error)  # The call is told all the same, and no block will be left to end it.
            raise
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        await _recorded(self._end(error))

    def _begin(self) -> Told:
        self.result, self.is_error = None, False
        given = tool_run.json_arguments(self._arguments)
        self._run = run = ToolRun(self._name, given, time.time_ns() // 1_000, **self._known)
        where = (in_force(), conversation_in_force())
        run.is_nested, self._outer = where == _inside.get(), _inside.set(where)
        told = self._told(began)
        self._since = time.perf_counter()
        return told

    def _end(self, error: BaseException | None) -> Told:
        run = self._run
        if run is None:
            return None
        self._go_out()
        run.latency_ms = round((time.perf_counter() - self._since) * 1_000, 3)
        run.is_error = self.is_error or error is not None
        run.result = tool_run.json_value(self.result) if error is None else error_text(error)
        return self._told(ended)

    def _go_out(self) -> None:
        outer, self._outer = self._outer, None
        with suppress(ValueError):  # Ended in another context, where nothing is to be taken back.
            if outer is not None:
                _inside.reset(outer)

    async def _awaited(self, result: Any) -> Any:
        """What a coroutine comes to that a function gave; the run ends with it."""
        self._is_awaited = False
        with ExitStack() as until:
            until.push(self)
            self.result = await result
        return self.result

    def _told(self, make: Telling) -> Told:
        if self._run is None:
            return None
        try:
            self._tell = _in_force(self._name) if make is began else self._tell
            told = self._tell(self._run, make) if self._tell is not None else None
        except Exception as error:  # The tool goes on, whatever recording says.
            _not_recorded(self._name, error)
            return None
        if told is not None:
            told.add_done_callback(partial(_done, self._name))
        return told


@overload
def tool(function: F, /) -> F: ...
@overload
def tool(
    name: str | None = None, /, *, effect: Effect = "unknown", arguments: Mapping[str, Any] = ...,
    call_id: str | None = None, call_id_from: str | None = None,
) -> ToolOf: ...  # fmt: skip
def tool(
    named: Any = None,
    /,
    *,
    effect: Effect = "unknown",
    arguments: Mapping[str, Any] | None = None,
    call_id: str | None = None,
    call_id_from: str | None = None,
) -> Any:
    """Record the runs of a function or of a block as calls of a tool.

    As a decorator it takes functions, async ones and methods; ``tool("name")`` records them under
    another name than the function's. As a context manager it is of one run: ``arguments`` are
    those of the call, and ``running.result`` is set to what came of it.

    ``effect`` is what the tool does to the world: ``read``, ``write``, ``irreversible``, or
    ``unknown``, which counts as the worst. It is also that of the calls by this name which a model
    makes in this process. ``call_id`` is the id of the model's call, where it is at hand;
    ``call_id_from`` names the parameter of a decorated function that is given it.

    Raises :class:`~refold.errors.UsageError` for another effect, and for what is no function of
    one result, such as a generator.
    """
    if effect not in get_args(Effect):
        raise UsageError(f"effect={effect!r} is none of {', '.join(get_args(Effect))}")
    if isinstance(named, str | None):
        return ToolOf(named, effect, arguments, call_id, call_id_from)
    return ToolOf(None, effect, None, None, None)(named)


class ToolOf(RunningTool):
    """What :func:`tool` gives: a decorator, and a context manager of one run."""

    def __init__(
        self, name: str | None, effect: Effect, arguments: Any, call_id: str | None,
        call_id_from: str | None,
    ) -> None:  # fmt: skip
        given = {} if arguments is None else arguments
        super().__init__(name or "", given, effect=effect, call_id=call_id)
        self._effect, self._call_id_from = effect, call_id_from

    def _begin(self) -> Told:
        if not self._name:
            raise UsageError("a block has no name: refold.tool('send_invoice', …)")
        if standing_in.get() is not None:
            raise UsageError(f"nothing can stand in for a block: let {self._name} be a function")
        declare(self._name, self._effect)
        return super()._begin()

    def __call__(self, function: F) -> F:
        """The function, recording its runs."""
        if isinstance(function, staticmethod | classmethod):
            return type(function)(self(function.__func__))
        name = self._name or getattr(function, "__name__", "")
        _check(function, name)
        declare(name, self._effect)
        running = partial(self._running, name, _signature(function))
        if inspect.iscoroutinefunction(function) or _is_async_object(function):

            @wraps(function)
            async def run_async(*args: Any, **named: Any) -> Any:
                if (instead := standing_in.get()) is not None:
                    return _returned(function, instead(*self._asked(name, function, args, named)))
                async with running(args, named) as run:
                    run.result = await function(*args, **named)
                return run.result

            return run_async  # type: ignore[return-value]

        @wraps(function)
        def run(*args: Any, **named: Any) -> Any:
            if (instead := standing_in.get()) is not None:
                return _returned(function, instead(*self._asked(name, function, args, named)))
            with running(args, named) as run:
                run.result = function(*args, **named)
                run._is_awaited = inspect.iscoroutine(run.result)
            return run._awaited(run.result) if run._is_awaited else run.result

        return run  # type: ignore[return-value]

    def _asked(self, name: str, function: F, args: Any, named: Any) -> tuple[str, Any, str | None]:
        given = _arguments(_signature(function), args, named)
        call_id = given.pop(self._call_id_from, None) if self._call_id_from else None
        return name, tool_run.json_arguments(given), call_id if isinstance(call_id, str) else None

    def _running(
        self, name: str, signature: inspect.Signature | None, args: Any, named: Any
    ) -> RunningTool:
        given = _arguments(signature, args, named)
        call_id = given.pop(self._call_id_from, None) if self._call_id_from else None
        objects = {name: value for name, value in given.items() if not tool_run.is_plain(value)}
        given |= {name: type(value).__qualname__ for name, value in objects.items()}
        call_id = call_id if isinstance(call_id, str) else None
        return RunningTool(name, given, effect=self._effect, call_id=call_id, objects=objects)


def _returned(function: Any, text: str) -> Any:
    """What the agent was told, as the function gives it: text where it says so, else JSON's value.

    A text that is no JSON is what the function gave.
    """
    if getattr(function, "__annotations__", {}).get("return") in (str, "str"):
        return text
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def _check(function: Any, name: str) -> None:
    if not callable(function) or isinstance(function, type) or not name:
        raise UsageError(f"refold.tool is for a function with a name, not {function!r:.60}")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise UsageError(
            f"{name} is a generator, which has no one result: let it return a list, or record "
            f"the block that reads it: with refold.tool({name!r}, arguments=…)"
        )


def _is_async_object(function: Any) -> bool:
    called: Any = vars(type(function)).get("__call__")
    return inspect.iscoroutinefunction(called)


def _signature(function: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):  # Of some built-in functions nobody knows it.
        return None


def _arguments(
    signature: inspect.Signature | None, args: tuple[Any, ...], named: dict[str, Any]
) -> dict[str, Any]:
    """What a function is given, by the names of its parameters; not the object of a method."""
    try:
        if signature is None:
            raise TypeError
        given = dict(signature.bind(*args, **named).arguments)
    except TypeError:  # Where the function takes no such arguments it will say so.
        return {**({"args": args} if args else {}), **named}
    parameters = [*signature.parameters.values()]
    for parameter in parameters[:1]:
        if parameter.name in ("self", "cls"):
            given.pop(parameter.name, None)
    for parameter in parameters:
        if parameter.kind is parameter.VAR_KEYWORD:
            given |= given.pop(parameter.name, {})
    return given


def _in_force(name: str) -> Tell | None:
    """How a run is recorded here; None where it is not."""
    if (recorder := in_force()) is not None:
        return recorder._tell
    if (writer := writer_in_force()) is not None:
        return partial(writer.tool, conversation_in_force())
    _say_once("none", f"no conversation is recorded here: the runs of {name!r} are not either")
    return None


async def _recorded(told: Told) -> None:
    """Wait until it is recorded, also where the task is cancelled meanwhile.

    Not for what another event loop does: it may be waiting for this one, or run in no thread.
    """
    if isinstance(told, asyncio.Future) and told.get_loop() is asyncio.get_running_loop():
        await asyncio.wait([asyncio.shield(told)])


def _done(name: str, told: Any) -> None:
    if not told.cancelled() and (error := told.exception()) is not None:
        _not_recorded(name, error)


def _not_recorded(name: str, error: BaseException) -> None:
    _say_once("failed", f"a run of {name!r} was not recorded, and others may not be: {error}")


def _say_once(what: str, message: str) -> None:
    if what not in _said:
        _said.add(what)
        _log.warning(message)
