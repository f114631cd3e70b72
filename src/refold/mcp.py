"""Tool calls through a client of the Model Context Protocol, recorded as an agent's own tools are.

::

    async with mcp.Client("https://tools.example/mcp") as client:
        refold.mcp.recorded(client)
        with refold.capture.conversation("call-42"):
            await client.call_tool("lookup", {"order": "A-1"})

What a server says of its tools (specification of 2025-06-18 and later, ToolAnnotations) are hints:
nobody can know whether they are true.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar, get_args

from refold.conversation.events import Effect, sha256_of
from refold.errors import UsageError
from refold.recording.declared import declare
from refold.tools import RunningTool

if TYPE_CHECKING:
    import mcp

__all__ = ["recorded"]

S = TypeVar("S", bound="mcp.ClientSession | mcp.Client")

PAGES_MAX: Final = 100
"""How many pages of a server's list of tools are asked for."""
LISTING_S: Final = 5.0
"""How long a first call waits for a list that the agent never asked for."""
_SERVER_INFO: Final = "io.modelcontextprotocol/serverInfo"
_HINTS: Final = ("readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint")


def recorded(session: S, *, prefix: str = "", effects: Mapping[str, Effect] | None = None) -> S:
    """Record each tool call that a ``ClientSession`` or ``Client`` makes; gives it back.

    It is recorded where :func:`refold.tool` would, and as the call that the model made: by the name
    of the tool with ``prefix`` before it, where a framework makes one. ``effects`` says what tools
    do, by their names on the server, and goes before the server's hints. Metadata of the events
    has under ``mcp`` the server's name and version and the hints; ``schema_hash`` is that of the
    tool's ``inputSchema``. A tool that was not listed is looked up once in the server's list.

    Raises :class:`~refold.errors.UsageError` for what is no such session.
    """
    known = sys.modules.get("mcp")  # Else nobody can have made one.
    is_known = known is not None and isinstance(session, known.ClientSession | known.Client)
    unknown = {*(effects or {}).values()} - {*get_args(Effect)}
    if not is_known:
        raise UsageError(f"an mcp.ClientSession or mcp.Client is recorded, not {session!r:.60}")
    if unknown:
        raise UsageError(f"effects are {', '.join(get_args(Effect))}, not {sorted(unknown)}")
    if not isinstance(getattr(session.call_tool, "__self__", None), _RecordedCalls):
        patched: Any = session  # It keeps its type, for frameworks that look.
        calls = _RecordedCalls(session, prefix, effects or {})
        patched.call_tool, patched.list_tools = calls.call_tool, calls.list_tools
    return session


class _RecordedCalls:
    """Stands before the two methods of a session by which tools are found and called."""

    def __init__(self, session: Any, prefix: str, effects: Mapping[str, Effect]) -> None:
        self._session, self._prefix, self._effects = session, prefix, effects
        self._call_tool, self._list_tools = session.call_tool, session.list_tools
        self._tools: dict[str, Any] = {}
        self._is_looked_up = False

    async def list_tools(self, *args: Any, **named: Any) -> Any:
        """The same list; what it says of each tool is known from then on."""
        listed = await self._list_tools(*args, **named)
        with suppress(Exception):  # A list of another shape is the caller's all the same.
            for tool in listed.tools:
                self._tools[tool.name] = tool
                declare(self._prefix + tool.name, self._effect(tool.name))
        return listed

    async def call_tool(
        self, name: str, arguments: dict[str, Any] | None = None, *args: Any, **named: Any
    ) -> Any:
        """The same call, recorded."""
        if name not in self._tools and not self._is_looked_up:
            self._is_looked_up = True
            with suppress(Exception):  # It would only say more of the call.
                await self._look_up()
        about = self._about(name)
        async with RunningTool(f"{self._prefix}{name}", arguments or {}, **about) as running:
            answer = await self._call_tool(name, arguments, *args, **named)
            running.is_error = getattr(answer, "is_error", False) is True
            try:
                running.result = _said(answer)
            except Exception:  # No answer as the protocol has them: as any other value.
                running.result = answer
        return answer

    def _about(self, name: str) -> dict[str, Any]:
        """What is known of a tool; nothing where its server says what nobody can read."""
        try:
            tool = self._tools.get(name)
            schema_hash = sha256_of(tool.input_schema) if tool else ""
            metadata = {"mcp": {**self._server(), **_hints(tool)}}
            return {
                "effect": self._effect(name), "schema_hash": schema_hash, "metadata": metadata
            }  # fmt: skip
        except Exception:
            return {"effect": self._effects.get(name, "unknown")}

    async def _look_up(self) -> None:
        import anyio
        import mcp_types

        is_session, cursor = not hasattr(self._session, "session"), None
        with anyio.move_on_after(LISTING_S):
            for _ in range(PAGES_MAX):
                page = mcp_types.PaginatedRequestParams(cursor=cursor)
                named = {"params": page} if is_session else {"cursor": cursor}
                cursor = (await self.list_tools(**named)).next_cursor
                if not cursor:
                    return

    def _effect(self, name: str) -> Effect:
        """What a tool does by the caller's word, else by its server's; silence says nothing."""
        hints = _hints(self._tools.get(name))
        if name in self._effects:
            return self._effects[name]
        if hints.get("readOnlyHint"):
            return "read"
        is_destructive = hints.get("destructiveHint")
        return (
            "unknown" if is_destructive is None else "irreversible" if is_destructive else "write"
        )

    def _server(self) -> dict[str, Any]:
        info = self._session.server_info
        return {} if info is None else {"server": info.name, "version": info.version}


def _hints(tool: Any) -> dict[str, bool]:
    """What a server says of a tool, by the names of the specification."""
    if tool is None or tool.annotations is None:
        return {}
    said = tool.annotations.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {name: said[name] for name in _HINTS if name in said}


def _said(answer: Any) -> Any:
    """The content of an answer, as the protocol names its parts; with what stands beside it."""
    parts = {"is_error", "result_type"}
    said = answer.model_dump(mode="json", by_alias=True, exclude_none=True, exclude=parts)
    meta = said.pop("_meta", {})
    meta = {name: value for name, value in meta.items() if name != _SERVER_INFO}
    said |= {"_meta": meta} if meta else {}
    return said["content"] if said.keys() == {"content"} else said
