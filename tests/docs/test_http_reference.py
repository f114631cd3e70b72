"""docs/reference/http.md names the addresses that there are, with what they may answer."""

import re

from refold.server.application import BODY_BYTES_MAX
from refold.server.openapi import document
from refold.server.operations import OPERATIONS
from refold.server.problem import RETRY_AFTER_S, STATUS
from tests.house.tree import ROOT

PAGE = (ROOT / "docs" / "reference" / "http.md").read_text()
HOW_TO = (ROOT / "docs" / "how-to" / "serve-a-store.md").read_text()
_ROW = re.compile(r"^\| `(GET|POST) (\S+)` \| `?(\w+)`? \| ([\d, ]+) \|", re.MULTILINE)


def test_the_table_is_that_of_the_document() -> None:
    """Method, address, scope and every status, in both directions."""
    paths = document(OPERATIONS)["paths"]
    scopes = {(one.method, one.path): one.scope or "none" for one in OPERATIONS}
    said = {
        (method, path): (scope, [int(status) for status in statuses.split(",")])
        for method, path, scope, statuses in _ROW.findall(PAGE)
    }
    there = {
        (method.upper(), path): (
            scopes[method.upper(), path],
            sorted(map(int, operation["responses"])),
        )
        for path, operations in paths.items()
        for method, operation in operations.items()
    }
    assert said == there


def test_every_parameter_is_named() -> None:
    """Those of the query of each address but the selection, which the commands' page has."""
    for path, operations in document(OPERATIONS)["paths"].items():
        row = next(line for line in PAGE.splitlines() if f"{path}`" in line)
        if path != "/v1/conversations":
            for operation in operations.values():
                for parameter in operation["parameters"]:
                    assert parameter["in"] == "path" or f"`{parameter['name']}`" in PAGE, row


def test_the_statuses_of_errors_are_told() -> None:
    """Those of the page are those of the code; so are those to come back after."""
    told = dict.fromkeys(re.findall(r"^\| (\d{3}) \| `(\w+)`", PAGE, re.MULTILINE))
    statuses = {cls.code: status for cls, status in STATUS.items()}
    assert told
    assert all(statuses[code] == int(status) for status, code in told)
    assert {int(status) for status, _ in told} >= set(RETRY_AFTER_S)
    assert f"{BODY_BYTES_MAX >> 20} MiB" in PAGE
    assert f"{BODY_BYTES_MAX >> 20} MiB" in HOW_TO
