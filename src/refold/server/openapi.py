"""The document of the addresses (OpenAPI 3.1), made of the classes that decode and encode them.

https://spec.openapis.org/oas/v3.1.1.html
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from inspect import cleandoc
from typing import TYPE_CHECKING, Any, Final

import msgspec

from refold._version import __version__
from refold.server.problem import RETRY_AFTER_S
from refold.server.wire import ProblemDocument, Stream

if TYPE_CHECKING:
    from refold.server.operations import Endpoint

PROBLEM: Final = "application/problem+json"
_ALWAYS: Final = (400, 421, 500)
"""What any request may be answered with."""
_OF_TOKENS: Final = (401, 403)
_REF: Final = "#/components/schemas/{name}"


def document(operations: Sequence[Endpoint]) -> dict[str, Any]:
    """The whole document."""
    classes = [cls for one in operations for cls in (one.gives, one.body) if _is_class(cls)]
    _, schemas = msgspec.json.schema_components([*classes, ProblemDocument], ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for one in operations:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one)
    bearer = {"type": "http", "scheme": "bearer", "description": "Where there are tokens."}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "refold",
            "version": __version__,
            "description": "Append events to a store, read, fold and follow them.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {"token": bearer}},
    }


def _is_class(cls: type | None) -> bool:
    return cls is not None and issubclass(cls, msgspec.Struct)


def _operation(one: Endpoint) -> dict[str, Any]:
    summary, _, more = cleandoc(one.handler.__doc__ or "").partition("\n")
    said: dict[str, Any] = {
        "operationId": one.handler.__name__,
        "summary": summary,
        "description": more.strip(),
        "parameters": [*_of_path(one.path), *_of_query(one.query)],
        "responses": {
            str(one.status): _answer(HTTPStatus(one.status), _content(one.gives, one.answer_media)),
            **{str(status): _refusal(status) for status in _refusals(one)},
        },
    }
    if one.scope is not None:
        said["security"] = [{}, {"token": [one.scope]}]
    if one.body is not None:
        content = {media: _content(one.body, media)[media] for media in one.media}
        said["requestBody"] = {"required": True, "content": content}
    return said


def _refusals(one: Endpoint) -> list[int]:
    of_tokens = () if one.scope is None else _OF_TOKENS
    return sorted({*_ALWAYS, *of_tokens, *one.refusals})


def _of_path(path: str) -> list[dict[str, Any]]:
    if "{stream}" not in path:
        return []
    (schema,), _ = msgspec.json.schema_components([Stream])
    return [{"name": "stream", "in": "path", "required": True, "schema": schema}]


def _of_query(cls: type | None) -> list[dict[str, Any]]:
    if cls is None:
        return []
    _, found = msgspec.json.schema_components([cls], ref_template=_REF)
    schema = found[cls.__name__]
    return [
        {"name": name, "in": "query", "required": name in schema["required"], "schema": one}
        for name, one in schema["properties"].items()
    ]


def _content(cls: type, media: str) -> dict[str, Any]:
    if not _is_class(cls):
        return {media: {"schema": {"type": "string"} if cls is str else {}}}
    return {media: {"schema": {"$ref": _REF.format(name=cls.__name__)}}}


def _answer(status: HTTPStatus, content: dict[str, Any]) -> dict[str, Any]:
    return {"description": status.phrase, "content": content}


def _refusal(status: int) -> dict[str, Any]:
    said = _answer(HTTPStatus(status), _content(ProblemDocument, PROBLEM))
    if status in RETRY_AFTER_S:
        seconds = {"schema": {"type": "integer"}, "description": "Seconds."}
        said["headers"] = {"Retry-After": seconds}
    return said
