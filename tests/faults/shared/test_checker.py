"""The checker of a shared run finds each kind of harm in a history that has it, and in no other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.faults.shared.checker import CHECKS, figures, judged
from tests.faults.shared.evidence import (
    Entry,
    Evidence,
    Message,
    Run,
    TallyRow,
    Topic,
    runs_of,
    tallied,
)
from tests.faults.shared.journal import Deed, Journal, Place, deeds_in

PAID = {"amount": "10", "asset": "USDC"}
MOVED = {"amount": "4", "asset": "USDC", "reference": "b.1"}


def log() -> list[Entry]:
    """Ten events of seven appends; the last was never told."""
    return [
        Entry(1, "wallet-1", 0, "funds.deposited", "a.1", 0, PAID),
        Entry(2, "wallet-1", 1, "funds.withdrawn", "b.1", 0, MOVED),
        Entry(3, "wallet-2", 0, "funds.deposited", "b.1", 0, MOVED),
        Entry(4, "call-1", 0, "test.noted", "a.2", 0),
        Entry(5, "call-1", 1, "test.noted", "a.2", 1),
        Entry(6, "count-1", 0, "test.counted", "b.2", 0, {"value": 1}),
        Entry(7, "seat-1", 0, "test.seated", "a.3", 0, {"seat": "seat:1"}),
        Entry(8, "wallet-2", 1, "escrow.locked", "b.3", 0, {"amount": "3", "asset": "USDC"}),
        Entry(9, "call-1", 2, "test.noted", "a.4", 0),
        Entry(10, "call-1", 3, "test.noted", "a.4", 1),
    ]


def deeds() -> dict[str, Deed]:
    """What the writers know of it: in this order they began, each when the one before had ended."""
    made = [
        Deed("a.1", [("wallet-1", 1)], 10, 11, [Place("wallet-1", 0, 1, 1)]),
        Deed(
            *("b.1", [("wallet-1", 1), ("wallet-2", 1)], 20, 21),
            places=[Place("wallet-1", 1, 2, 1), Place("wallet-2", 0, 3, 1)],
            is_doubtful=True,
        ),
        Deed("a.2", [("call-1", 2)], 30, 31, [Place("call-1", 1, 5, 2)]),
        Deed("b.2", [("count-1", 1)], 40, 41, [Place("count-1", 0, 6, 1)]),
        Deed("a.3", [("seat-1", 1)], 50, 51, [Place("seat-1", 0, 7, 1)]),
        Deed("b.3", [("wallet-2", 1)], 60, 61, [Place("wallet-2", 1, 8, 1)]),
        Deed("b.4", [("call-1", 1)], 70, 0, None, refused="conflict"),
        Deed("a.4", [("call-1", 2)], 80),
        Deed("b.5", [("call-1", 1)], 81),
    ]
    return {deed.op: deed for deed in made}


def whole(entries: list[Entry] | None = None) -> Evidence:
    """What is left of a run in which nothing went wrong."""
    found = log() if entries is None else entries
    messages = [Message(len(e.stream) % 3, e.stream, e.version, e.position) for e in found]
    messages.sort(key=lambda one: one.partition)
    return Evidence(
        deeds(),
        found,
        readers={"polling": list(runs_of(found[:4])) + list(runs_of(found[4:]))},
        tallies={"worked": tallied(found)},
        topics={"once": Topic(messages, 0), "again": Topic(messages + messages[-2:], 512)},
    )


def broken(columns: Evidence) -> set[str]:
    """The columns that count something."""
    return {column.name for column in judged(columns) if column.found}


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    """No column counts anything; what happened is told beside."""
    assert broken(whole()) == set()
    assert figures(whole()) == {
        "events in the log": 10,
        "acknowledged appends": 6,
        "refused appends": 1,
        "unknown outcomes resolved": 1,
        "never told, and stored": 1,
        "never told, and not stored": 1,
        "answered again by key": 0,
    }
    assert broken(Evidence()) == set()


def without(*positions: int) -> Evidence:
    """Events are gone."""
    return replace(whole(), log=[one for one in log() if one.position not in positions])


def with_entry(place: int, **other: Any) -> Evidence:
    """One event is another."""
    return replace(
        whole(),
        log=[one._replace(**other) if one.position == place else one for one in log()],
    )


def told(op: str, **other: Any) -> Evidence:
    """A writer was told something else."""
    evidence = whole()
    evidence.deeds[op] = replace(evidence.deeds[op], **other)
    return evidence


def seen(*runs: Run) -> Evidence:
    """A reader was given something else."""
    return replace(whole(), readers={"polling": list(runs)})


def sent(change: Callable[[list[Message]], list[Message]], kind: str = "once") -> Evidence:
    """A topic holds something else."""
    evidence = whole()
    topic = evidence.topics[kind]
    evidence.topics[kind] = replace(topic, messages=change(topic.messages))
    return evidence


def twice(entries: list[Entry]) -> list[Entry]:
    """An append stands there twice, at the end."""
    again = [
        e._replace(position=e.position + 7, version=e.version + 4) for e in entries if e.op == "a.2"
    ]
    return [*entries, *again]


def first(stream: str, version: int) -> Callable[[list[Message]], list[Message]]:
    """One message stands before all others."""

    def moved(messages: list[Message]) -> list[Message]:
        chosen = [one for one in messages if one[1:3] == (stream, version)]
        return chosen + [one for one in messages if one not in chosen]

    return moved


ALL = list(runs_of(log()))
CASES: list[tuple[str, Evidence]] = [
    ("acknowledged and lost", without(6)),
    ("acknowledged and lost", told("a.2", places=[Place("call-1", 1, 6, 2)])),
    ("acknowledged and lost", told("a.2", places=[Place("call-1", 0, 4, 1)])),
    ("acknowledged and lost", told("a.3", answers_again=[[Place("seat-1", 0, 8, 1)]])),
    ("acknowledged and lost", with_entry(6, stream="count-2")),
    ("doubled", replace(whole(twice(log())), deeds=deeds())),
    ("doubled", with_entry(10, version=2)),
    ("doubled", with_entry(10, position=9)),
    ("torn apart", without(10)),
    ("torn apart", with_entry(10, op="nobody.1")),
    ("torn apart", with_entry(9, stream="call-2")),
    ("torn apart", told("a.4", parts=[("call-1", 1), ("call-2", 1)])),
    ("reordered", with_entry(5, version=0)),
    ("reordered", told("a.2", began_ns=62)),
    ("positions missing", without(4, 5)),
    ("seen out of order", seen(*ALL, Run(10, 10, 0))),
    ("seen out of order", seen(Run(1, 6, 0), Run(5, 10, 0))),
    ("skipped by a reader", seen(Run(1, 6, 0), Run(8, 10, 0))),
    ("skipped by a reader", seen(Run(2, 10, 0))),
    ("skipped by a reader", seen(Run(1, 9, 0))),
    ("skipped by a reader", seen()),
    ("seen otherwise", seen(ALL[0]._replace(sum=1))),
    ("seen otherwise", seen(Run(1, 11, ALL[0].sum))),
    ("rejected and in the log", told("a.4", refused="unavailable")),
    ("decided on what was past", with_entry(6, data={"value": 2})),
    ("decided on what was past", with_entry(9, type="test.seated", data={"seat": "seat:1"})),
    ("rows unequal to the fold", replace(whole(), tallies={"worked": {}})),
    (
        "rows unequal to the fold",
        replace(whole(), tallies={"worked": {**tallied(log()), "call-1": TallyRow(4, 1)}}),
    ),
    (
        "rows unequal to the fold",
        replace(whole(), tallies={"worked": {**tallied(log()), "call-9": TallyRow(1, 1)}}),
    ),
    ("lost on the way to Kafka", sent(lambda messages: messages[:-1])),
    (
        "lost on the way to Kafka",
        sent(lambda messages: [*messages, Message(0, "call-9", 0, 11)]),
    ),
    ("doubled in Kafka", sent(lambda messages: messages + messages[-1:])),
    (
        "doubled in Kafka",
        sent(lambda m: [*m, m[-1]._replace(position=m[-1].position + 600), m[-1]], "again"),
    ),
    ("reordered in Kafka", sent(first("call-1", 2), "again")),
    (
        "reordered in Kafka",
        sent(lambda m: [*m[:-1], m[-1]._replace(partition=m[-1].partition + 1)]),
    ),
    ("accounts below zero", with_entry(8, data={"amount": "4.01", "asset": "USDC"})),
    (
        "accounts below zero",
        with_entry(8, type="escrow.released", data={"amount": "1", "asset": "USDC"}),
    ),
    ("sums not kept", with_entry(3, data={**MOVED, "amount": "3.99"})),
    ("unexpected errors", replace(whole(), complaints=["writers-1 ended"])),
]


@pytest.mark.parametrize(
    ("column", "evidence"), CASES, ids=[f"{n}-{name}" for n, (name, _) in enumerate(CASES)]
)
def test_each_harm_is_counted(column: str, evidence: Evidence) -> None:
    """In its column, with a line that says what it was about."""
    assert column in broken(evidence)
    assert all(one for each in judged(evidence) for one in each.found)


def test_every_column_has_a_history_that_breaks_it() -> None:
    """None of them is zero whatever happens."""
    assert {column for column, _ in CASES} == set(CHECKS)


def test_a_journal_outlives_its_writer(tmp_path: Path) -> None:
    """What was noted is read again; a line that a kill cut off says nothing."""
    journal = Journal(tmp_path / "journal.a")
    journal.begin("a.1", [("call-1", 2)])
    journal.unknown("a.1")
    journal.told("a.1", [Place("call-1", 1, 5, 2)])
    journal.told("a.1", [Place("call-1", 1, 6, 2)])
    journal.begin("a.2", [("call-1", 1)])
    journal.refused("a.2", "conflict")
    with (tmp_path / "journal.a").open("a") as cut_off:
        cut_off.write('["begin", "a.3", 12')
    found = deeds_in([tmp_path / "journal.a"])
    assert set(found) == {"a.1", "a.2"}
    one, other = found["a.1"], found["a.2"]
    assert (one.parts, one.is_doubtful, one.places) == (
        [("call-1", 2)],
        True,
        [Place("call-1", 1, 5, 2)],
    )
    assert one.answers_again == [[Place("call-1", 1, 6, 2)]]
    assert one.began_ns < one.told_ns < other.began_ns
    assert (other.places, other.refused) == (None, "conflict")
