"""What a refusal says: which importer fits, or what the file looks like that has none here."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from refold.conversation.importers.base import Found, Importer, Options
from refold.conversation.importers.source import ImportSource, Unreadable
from refold.errors import RefoldError

GUIDE: Final = 'see the how-to page "Bring another format"'
"""Where whoever has such a file finds a recipe."""
NOTHING_SAID: Final = Options()


def hint(
    source: ImportSource, importer: Importer | None = None, options: Options = NOTHING_SAID
) -> str:
    """What to do with a source that ``importer`` found nothing in, or that none is known for."""
    found = Importer.of(source)
    if found is not None and (importer is None or found[0].name != importer.name):
        name, why = found[0].name, found[1]
        # A format that finds nothing in it either is no advice.
        advice = ": import it as that" if _finds(found[0], source, options) else ""
        return f"; this looks like {name}{advice} ({why}); for more formats {GUIDE}"
    kind = likely(source.sample)
    return f"; this looks like {kind}: {GUIDE}" if kind else f"; for more formats {GUIDE}"


def is_known(source: ImportSource) -> bool:
    """Whether a source looks like some format, one that has an importer or one that has none."""
    return bool(likely(source.sample)) or Importer.of(source) is not None


def _finds(importer: Importer, source: ImportSource, options: Options) -> bool:
    """Whether an importer finds something in the start of a source; what is cut may hide it."""
    with suppress(RefoldError, Unreadable):
        is_found = any(isinstance(one, Found) for one in importer.read(source.start(), options))
        return is_found or not source.is_all_in_sight
    return False


def likely(values: Sequence[Any]) -> str:
    """What the first values of an input look like; "" where nothing says."""
    return next(filter(None, map(_name, values)), "")


def _name(value: Any) -> str:
    match value:
        case {"conversations": [{"from": _}, *_]} | [{"from": _, "value": _}, *_]:
            return "ShareGPT conversations"
        case {"resourceSpans": _} | {"resource_spans": _} | {"scopeSpans": _}:
            return "OTLP traces (OpenTelemetry)"
        case {"role": _, "parts": [{"type": _}, *_]} | {
            "messages": [{"parts": [{"type": _}, *_]}, *_]
        }:
            return "OpenTelemetry GenAI messages"
        case {"traceId": _, "type": "GENERATION" | "SPAN" | "EVENT"}:
            return "a Langfuse export"
        case {"trace_id": _, "dotted_order": _}:
            return "a LangSmith export"
        case {"message": {"type": "end-of-call-report"}} | {"artifact": {"messages": _}}:
            return "a Vapi call"
        case {"transcript_object": _} | {"call": {"transcript_object": _}}:
            return "a Retell call"
        case {"eval": dict()}:
            return "an Inspect log"
        case {"trajectory": list()} | {"history": [{"role": _, "message_type": _}, *_]}:
            return "a SWE-agent trajectory"
        case [str(name), *_] if name.startswith("client.beta.sessions."):
            return "a log of calls to Anthropic's managed agents"
        case {"events": [{"invocationId": _} | {"invocation_id": _} | {"author": _}, *_]}:
            return "a Google ADK session"
        case {"contents": [{"parts": _}, *_]} | {"role": _, "parts": [{"text": _}, *_]}:
            return "Gemini contents"
        case {"source": str(), "action": _} | {"source": str(), "observation": _}:
            return "OpenHands events"
        case {"ticks": _, "task_id": _}:
            return "a voice run of tau2"
        case {"source": str(), "content": _, "type": str()} | {"agent_name": _, "content": _}:
            return "AutoGen messages"
    return ""
