"""The door for exporters of OpenTelemetry: ``/v1/traces`` and ``/v1/logs``.

OTLP over HTTP (https://opentelemetry.io/docs/specs/otlp/#otlphttp): protobuf or JSON, gzip or not.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Final

from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as of_logs
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as of_traces
from starlette.responses import Response

from refold.conversation.importers.otlp import LOGS, SPANS, is_of_agents
from refold.errors import Overloaded, RefoldError
from refold.server import problem
from refold.server.desk import ServedCall
from refold.server.otlp_records import parts_of, refusal, unpacked
from refold.server.received import CATEGORY, take

PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"
REQUESTS_MAX: Final = 2
"""So many requests are taken at once in a process, for one may take 22 times its size in memory;
another is told to come later."""
REFUSED_SHOWN: Final = 5
"""Of so many records an answer says why they are not kept; all are counted."""
_ROOM: Final = threading.BoundedSemaphore(REQUESTS_MAX)
_CODES: Final = {403: 7, 429: 8, 503: 14, 504: 4, 500: 13}
"""The codes of https://grpc.io/docs/guides/status-codes; 3 is an argument that is none."""


async def traces(call: ServedCall) -> Response:
    """Take spans of OpenTelemetry: on disk when it is answered, each once.

    They are told as conversations when their trace has ended. What cannot be kept is counted in
    `partialSuccess`.
    """
    return await _answer(call, of_traces, "Trace", SPANS)


async def logs(call: ServedCall) -> Response:
    """Take log records of OpenTelemetry: the events of the GenAI conventions; others are passed.

    They are told with the spans that they are of. What cannot be kept is counted in
    `partialSuccess`.
    """
    return await _answer(call, of_logs, "Logs", LOGS)


async def _answer(call: ServedCall, service: Any, kind: str, places: Sequence[str]) -> Response:
    is_json = not call.request.headers.get("content-type", "").startswith(PROTOBUF)
    made = getattr(service, f"Export{kind}ServiceResponse")()
    request = getattr(service, f"Export{kind}ServiceRequest")()
    try:
        call.grant.check_category(CATEGORY)
        refused = await call.desk.run(lambda: _taken(call, request, places, is_json))
    except RefoldError as error:
        told = problem.answer(error)
        said = Status(code=_CODES.get(told.status_code, 3), message=error.message)
        kept = {key: told.headers[key] for key in ("retry-after",) if key in told.headers}
        return _encoded(said, is_json, told.status_code, kept)
    if refused:
        (counts,) = (one for one in made.partial_success.DESCRIPTOR.fields if one.number == 1)
        setattr(made.partial_success, counts.name, len(refused))
        made.partial_success.error_message = "; ".join(refused[:REFUSED_SHOWN])
    return _encoded(made, is_json, 200, {})


def _taken(call: ServedCall, request: Message, places: Sequence[str], is_json: bool) -> list[str]:
    """Keep what a request has; why each record that is not kept is not."""
    if not _ROOM.acquire(blocking=False):
        raise Overloaded(f"{REQUESTS_MAX} requests are being taken: send it again later")
    try:
        body = unpacked(call.body, call.request.headers.get("content-encoding", ""))
        parts = parts_of(request, body, places=places, is_json=is_json)
        told = [one for one in parts if places is SPANS or is_of_agents(one["record"])]
        whys = [refusal(one["record"]) for one in told]
        fit = [one for one, why in zip(told, whys, strict=True) if not why]
        return [*filter(None, whys), *take(call.desk.store, fit)]
    finally:
        call.desk.teller.taken += 1
        _ROOM.release()


def _encoded(message: Message, is_json: bool, status: int, headers: dict[str, str]) -> Response:
    body = MessageToJson(message, indent=None) if is_json else message.SerializeToString()
    return Response(body, status, headers, media_type=JSON if is_json else PROTOBUF)
