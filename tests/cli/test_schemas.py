"""`refold schemas`: what is stored, what it is read as, and what leads nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest

import refold
from tests.cli.running import Refold

SHOP = """
import msgspec, refold

kinds = refold.Registry()
nothing = 5

@kinds.event("order.placed", schema=2)
class Placed(msgspec.Struct):
    cents: int

@kinds.upcast("order.placed", schema=1)
def to_cents(data):
    return {"cents": data["sum"] * 100}

@kinds.upcast("sale.made", schema=1, into=["order.placed", "order.paid"])
def halves(data):
    return [Placed(data["cents"]), refold.Event("order.paid", {"by": data["by"]})]

kinds.retire("mood.guessed", reason="it was never right")
"""


@pytest.fixture(autouse=True)
def shop(tmp_path: Path) -> None:
    """A store with old events, and the module that knows of them."""
    (tmp_path / "shop_of_schemas.py").write_text(SHOP)
    with refold.open(tmp_path / "refold.db", registry=refold.Registry()) as store:
        store.append("s-1", [refold.Event("order.placed", {"sum": 5})] * 2)
        store.append("s-1", [refold.Event("order.placed.v2", {"cents": 7})])
        store.append("s-1", [refold.Event("sale.made", {"cents": 9, "by": "card"})])
        store.append("s-1", [refold.Event("mood.guessed", {"mood": "fine"})])


FROM = ("--from", "shop_of_schemas:kinds")


def test_schemas_are_shown_before_and_after(run: Refold) -> None:
    """For a person: how many, what is done to them, and an example of it."""
    ran = run("schemas", *FROM)
    assert (ran.code, ran.err) == (0, "")
    assert "order.placed                 schema 1        2 events" in ran.out
    assert 'before   {"sum":5}\n    after    order.placed.v2 {"cents":500}' in ran.out
    assert "split into order.placed, order.paid" in ran.out
    assert 'after    order.paid {"by":"card"}' in ran.out
    assert "retired: it was never right" in ran.out


def test_schemas_are_told_to_programs(run: Refold) -> None:
    """One object a line; the example is an event of the store."""
    found = {(one["type"], one["schema"]): one for one in run("schemas", *FROM, "--json").lines}
    assert found["order.placed", 1]["steps"] == [
        {"schema": 1, "by": "shop_of_schemas.to_cents", "into": []}
    ]
    assert found["order.placed", 1]["example"] == {
        "id": "s-1@0",
        "before": {"sum": 5},
        "after": [{"type": "order.placed", "schema": 2, "data": {"cents": 500}}],
    }
    assert found["order.placed", 2]["cls"] == "shop_of_schemas.Placed"
    assert found["mood.guessed", 1]["retired"] == "it was never right"


def test_only_the_types_that_were_asked_for_are_shown(run: Refold) -> None:
    """By type, or by type and schema."""
    ran = run("schemas", *FROM, "--json", "--type", "order.placed")
    assert [(one["type"], one["schema"]) for one in ran.lines] == [
        ("order.placed", 1),
        ("order.placed", 2),
    ]
    ran = run("schemas", *FROM, "--json", "--type", "order.placed.v2")
    assert [one["schema"] for one in ran.lines] == [2]


def test_a_schema_that_leads_nowhere_is_a_finding(run: Refold, tmp_path: Path) -> None:
    """The exit code is 1; what is wrong stands beside it."""
    with refold.open(tmp_path / "refold.db", registry=refold.Registry()) as store:
        store.append("s-1", [refold.Event("order.placed.v3", {"euros": 7})])
        store.append("s-1", [refold.Event("sale.made", {"cents": 9})])
    ran = run("schemas", *FROM, "--json")
    assert ran.code == 1
    wrong = {(one["type"], one["schema"]): one["unreadable"] for one in ran.lines if one["finding"]}
    assert wrong == {("order.placed", 3): 0, ("sale.made", 1): 1}
    assert "BAD" in run("schemas", *FROM).out


def test_without_the_users_classes_nothing_is_known(run: Refold) -> None:
    """Untyped events are no finding."""
    ran = run("schemas", "--json")
    assert ran.code == 0
    assert {one["cls"] for one in ran.lines} == {None}


def test_a_payload_is_tried_without_a_store(run: Refold, tmp_path: Path) -> None:
    """What it would be read as; a finding where an upcaster fails on it."""
    (tmp_path / "refold.db").unlink()
    ran = run("schemas", *FROM, "--type", "order.placed", "--example", '{"sum": 3}', "--json")
    assert ran.lines[0]["after"][0]["data"] == {"cents": 300}
    plain = run("schemas", *FROM, "--type", "order.placed", "--example", '{"sum": 3}')
    assert 'after    order.placed.v2 {"cents":300}' in plain.out
    for as_json in ([], ["--json"]):
        ran = run("schemas", *FROM, "--type", "order.placed", "--example", "{}", *as_json)
        assert ran.code == 1
        assert "sum" in ran.out


@pytest.mark.parametrize(
    "args",
    [
        pytest.param(["--from", "no_such_module"], id="no module"),
        pytest.param(["--from", "shop_of_schemas:no_such"], id="no attribute"),
        pytest.param(["--from", "shop_of_schemas:nothing"], id="no registry"),
        pytest.param(["--example", "{}"], id="an example of no type"),
        pytest.param(["--example", "{}", "--type", "a", "--type", "b"], id="of two types"),
        pytest.param(["--example", "{", "--type", "a"], id="no JSON"),
        pytest.param(["--db", "none.db"], id="no store"),
    ],
)
def test_wrong_usage_is_told(run: Refold, args: list[str]) -> None:
    """With exit code 2, before anything is read."""
    assert run("schemas", *args).code == 2


def test_settings_may_name_the_module(run: Refold, tmp_path: Path) -> None:
    """In a file of the user's own, once for all runs."""
    (tmp_path / "own.toml").write_text('[schemas]\nfrom = ["shop_of_schemas:kinds"]\n')
    found = run("schemas", "--json", "--type", "order.placed", "--config", "own.toml").lines
    assert found[0]["reads_as"] == "order.placed.v2"
