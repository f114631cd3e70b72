"""The OpenAPI document says what is so: what it allows is taken, and what is given it describes."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.core.result import Ok
from schemathesis.specs.openapi import checks as they
from starlette.applications import Starlette

import refold
from refold.conversation.events import UserUtterance
from refold.server import app

ENDLESS = "/v1/subscribe"
"""Answers for ever: what follows it is tested by itself."""
BOUND = settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
HEADERS = {"host": "127.0.0.1"}


def made() -> tuple[refold.Store, Starlette]:
    """An application over a store with a few streams."""
    store = refold.open("memory:")
    for name in ("0", "call-1", "call-2"):
        store.append(name, [UserUtterance(text="Hello")])
    return store, app(store)


STORE, APP = made()
SCHEMA = schemathesis.openapi.from_asgi("/openapi.json", APP, headers=HEADERS)
OPERATIONS = {
    f"{one.method.upper()} {one.path}": one
    for one in (found.ok() for found in SCHEMA.get_all_operations() if isinstance(found, Ok))
    if one.path != ENDLESS
}


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        (name, mode)
        for name in OPERATIONS
        for mode in schemathesis.GenerationMode
        if name != "GET /health" or mode.is_positive  # It takes nothing that could be wrong.
    ],
)
def test_what_is_sent_is_answered_as_the_document_says(
    name: str, mode: schemathesis.GenerationMode
) -> None:
    """Whatever fits it and whatever does not: a status, headers and a body that it names."""

    @given(case=OPERATIONS[name].as_strategy(generation_mode=mode))
    @BOUND
    def sent(case: Any) -> None:
        case.call_and_validate(
            headers=HEADERS,
            checks=[
                schemathesis.checks.not_a_server_error,
                they.status_code_conformance,
                they.content_type_conformance,
                they.response_headers_conformance,
                they.response_schema_conformance,
                they.negative_data_rejection,
                they.unsupported_method,
            ],
        )

    sent()


def test_the_document_is_one_of_openapi_3_1() -> None:
    """By the schema that schemathesis has of such documents, and each schema in it is one."""
    raw = SCHEMA.raw_schema
    assert raw["openapi"].startswith("3.1")
    SCHEMA.validate()
    for schema in raw["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
