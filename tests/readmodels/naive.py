"""The rows of the built-in read models, worked out anew from a whole history.

Nothing of `refold.readmodels` is used: payloads are read as plain JSON, and each value is found by
looking through all events of a stream, not by keeping it up to date.
"""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from functools import reduce
from itertools import groupby
from operator import add
from typing import Any

from refold import Recorded

Row = dict[str, Any]
AFTERWARDS = {"decision.recorded", "score.recorded"}
DURING = {
    *("session.started", "session.ended", "agent.configured", "user.utterance", "agent.utterance"),
    *("model.request", "model.response", "model.failed", "tool.call", "tool.decided"),
    *("tool.result", "retrieval.completed", "memory.read", "memory.written", "state.patched"),
    *("speech.started", "speech.stopped", "playback.interrupted", "dtmf.received"),
    *("call.held", "call.transferred"),
}
CONTACT = {
    *("session.started", "session.ended", "user.utterance", "agent.utterance", "dtmf.received"),
    "model.response",
}


def rows_of(history: Iterable[Recorded]) -> dict[str, list[Row]]:
    """Every table and view, with its rows in the order of their keys."""
    history = list(history)
    events = [event for event in history if "~" not in event.stream]
    streams = [list(group) for _, group in groupby(sorted(events, key=_place), lambda e: e.stream)]
    calls = [row for stream in streams for row in tool_calls(stream)]
    return {
        "conversations": [row for stream in streams for row in conversation(stream)],
        "tool_calls": calls,
        "tool_usage": tool_usage(calls),
        "costs": costs(streams),
        **people(streams),
        "branches": branches(history),
    }


def _changed(variant: Any) -> str | None:
    if not isinstance(variant, dict) or not variant:
        return None
    return variant.get("label") or ", ".join(sorted(variant))


def branches(history: Iterable[Recorded]) -> list[Row]:
    """A row a branch, by name."""
    forks = [event for event in history if event.type == "session.forked"]
    rows = [
        {
            "stream": event.stream,
            "parent": event.data["from_stream"],
            "version": event.data["from_version"],
            "changed": _changed(event.data.get("variant")),
        }
        for event in forks
    ]
    return sorted(rows, key=lambda row: row["stream"])


def conversation(stream: Sequence[Recorded]) -> Iterable[Row]:
    """The row of one stream, or none."""
    taken = [event for event in stream if event.type in DURING | AFTERWARDS]
    if not taken:
        return
    during = [event for event in taken if event.type in DURING]
    times = [event.occurred_at_us for event in during]
    answers = _data(taken, "model.response")
    results = _data(taken, "tool.result")
    score = _last(_data(taken, "score.recorded"))
    decision = _last(_data(taken, "decision.recorded"))
    uses = [answer["usage"] for answer in answers if answer.get("usage") is not None]
    yield {
        "stream": taken[0].stream,
        **_opening(taken),
        **_agent(taken),
        **_ending(taken),
        "started_at": text(min(times)) if times else None,
        "last_at": text(max(times)) if times else None,
        "duration_ms": (max(times) - min(times)) // 1000 if times else 0,
        "transferred_to": _said(_last(_data(taken, "call.transferred")), "to_party"),
        "decision_reference": _said(decision, "reference"),
        "decision_amount": _said(decision, "amount"),
        "decision_currency": _said(decision, "currency"),
        "decision_reasons": _said(decision, "reasons", []),
        "score_name": _said(score, "name"),
        "score": _said(score, "value"),
        "turns": len(_data(taken, "user.utterance") + _data(taken, "agent.utterance")),
        "user_turns": len(_data(taken, "user.utterance")),
        "interruptions": len(_data(taken, "playback.interrupted")),
        "tool_calls": len(_data(taken, "tool.call")),
        "tool_errors": sum(result.get("is_error", False) for result in results),
        "answers": len(answers),
        "model_failures": len(_data(taken, "model.failed")),
        "cost": spent(answers),
        **{name: sum(use.get(name, 0) for use in uses) for name in _TOKENS},
        **_latencies("model_latencies", "model_latency_ms", answers, "latency_ms"),
        **_latencies("first_tokens", "first_token_ms", answers, "first_token_ms"),
        **_latencies("tool_latencies", "tool_latency_ms", results, "latency_ms"),
        "last_version": taken[-1].version,
        "last_position": taken[-1].position,
    }


_TOKENS = ("input_tokens", "output_tokens", "cached_tokens")


def _opening(taken: Sequence[Recorded]) -> Row:
    started = _last(_data(taken, "session.started"))
    parties = [] if started is None else started.get("parties", [])
    customers = [party for party in parties if party["role"] == "customer"]
    names = [party["name"] for party in customers if party.get("name")]
    subjects = [subject for event in taken if (subject := subject_of(event))]
    keys = [key for party in customers if (key := party.get("id") or party.get("address"))]
    return {
        "channel": _said(started, "channel", "chat"),
        "direction": _said(started, "direction", "inbound"),
        "parties": parties,
        "customer": next(iter(subjects + keys), None),
        "customer_by": "subject" if subjects else "party" if keys else None,
        "customer_name": next(iter(names), None),
    }


def _ending(taken: Sequence[Recorded]) -> Row:
    turning = [event for event in taken if event.type in ("session.started", "session.ended")]
    last = _last(turning)
    if last is None or last.type == "session.started":
        return {"status": "open", "ended_at": None, "end_reason": None, "error": None}
    return {
        "status": "ended",
        "ended_at": text(last.occurred_at_us),
        "end_reason": last.data.get("reason", "completed"),
        "error": last.data.get("error"),
    }


def _agent(taken: Sequence[Recorded]) -> Row:
    places = [n for n, event in enumerate(taken) if event.type == "agent.configured"]
    begins = places[-1] if places else 0
    configured = taken[begins].data if places else {}
    prompt = configured.get("prompt") or {}
    said = [answer.get("model") for answer in _data(taken[begins:], "model.response")]
    if not places:
        said = [answer.get("model") for answer in _data(taken, "model.response")]
    return {
        "agent": configured.get("agent"),
        "agent_version": version_of(configured),
        "prompt_id": prompt.get("id"),
        "prompt_hash": prompt.get("hash"),
        "model": configured.get("model") or next(filter(None, said), None),
        "provider": configured.get("provider"),
    }


def version_of(configured: Row) -> str | None:
    """How an agent's version is called."""
    prompt = configured.get("prompt") or {}
    named: str | None = configured.get("version")
    return named if named or not prompt else prompt.get("id") or prompt["hash"][:12]


def _latencies(count: str, figure: str, said: Sequence[Row], name: str) -> Row:
    known = [one[name] for one in said if one.get(name) is not None]
    return {
        count: len(known),
        # One after the other: `sum` rounds otherwise from Python 3.12 on.
        f"{figure}_sum": reduce(add, known, 0.0),
        f"{figure}_max": max(known, default=None),
    }


def tool_calls(stream: Sequence[Recorded]) -> Iterable[Row]:
    """A row a call, then one a result without a call, in the order of their versions."""
    rows: list[Row] = []
    for event in stream:
        if event.type == "tool.call":
            rows.append(_call(stream, event, event.data["name"]))
        elif event.type == "tool.result":
            same = [row for row in rows if row["call_id"] == event.data["call_id"]]
            waiting = [row for row in same if row["returned_at"] is None]
            if not waiting:
                waiting = [_call(stream, event, event.data.get("name") or "")]
                rows += waiting
                waiting[0] |= {"called_at": None, "effect": None}
            waiting[0] |= {
                "returned_at": text(event.occurred_at_us),
                "latency_ms": event.data.get("latency_ms"),
                "is_error": int(event.data.get("is_error", False)),
            }
    return rows


def _call(stream: Sequence[Recorded], event: Recorded, tool: str) -> Row:
    before = [e for e in stream if e.version < event.version]
    configured = _last(_data(before, "agent.configured")) or {}
    return {
        "stream": event.stream,
        "version": event.version,
        "call_id": event.data["call_id"],
        "tool": tool,
        "agent": configured.get("agent") or "",
        "agent_version": version_of(configured) or "",
        "model": configured.get("model") or "",
        "position": event.position,
        "effect": event.data.get("effect", "unknown"),
        "called_at": text(event.occurred_at_us),
        "returned_at": None,
        "latency_ms": None,
        "is_error": None,
    }


def tool_usage(calls: Sequence[Row]) -> list[Row]:
    """What calls come to, by tool and version of the agent."""
    by = ("tool", "agent", "agent_version", "model")
    rows = []
    for key in sorted({tuple(call[name] for name in by) for call in calls}):
        mine = [call for call in calls if tuple(call[name] for name in by) == key]
        called = [call for call in mine if call["called_at"] is not None]
        answered = [call for call in called if call["returned_at"] is not None]
        known = [c["latency_ms"] for c in answered if c["latency_ms"] is not None]
        errors = sum(call["is_error"] for call in answered)
        rows.append(
            {
                **dict(zip(by, key, strict=True)),
                "calls": len(called),
                "unanswered": len(called) - len(answered),
                "errors": errors,
                "error_rate": errors / len(answered) if answered else None,
                "latencies": len(known),
                **{f"p{p}_ms": percentile(known, p) for p in (50, 95, 99)},
                "unmatched_results": len(mine) - len(called),
            }
        )
    return rows


def percentile(known: Sequence[float], p: int) -> float | None:
    """The nearest rank: the smallest value that at least p of a hundred are not over."""
    reached = (v for v in sorted(known) if 100 * sum(w <= v for w in known) >= p * len(known))
    return next(reached, None)


def costs(streams: Sequence[Sequence[Recorded]]) -> list[Row]:
    """Answers by day, agent, model and currency."""
    found: dict[tuple[str, ...], list[Row]] = {}
    for stream in streams:
        for event in stream:
            if event.type == "model.response":
                before = [e for e in stream if e.version < event.version]
                configured = _last(_data(before, "agent.configured")) or {}
                key: tuple[str, ...] = (
                    text(event.occurred_at_us)[:10],
                    configured.get("agent") or "",
                    event.data.get("model") or configured.get("model") or "",
                    event.data.get("currency", "USD"),
                )
                found.setdefault(key, []).append(event.data)
    rows = []
    for key, answers in sorted(found.items()):
        uses = [answer["usage"] for answer in answers if answer.get("usage") is not None]
        rows.append(
            {
                **dict(zip(("day", "agent", "model", "currency"), key, strict=True)),
                "answers": len(answers),
                "unpriced_answers": sum(answer.get("cost") is None for answer in answers),
                "cost": spent(answers).get(key[3], Decimal(0)),
                **{name: sum(use.get(name, 0) for use in uses) for name in _TOKENS},
            }
        )
    return rows


def people(streams: Sequence[Sequence[Recorded]]) -> dict[str, list[Row]]:
    """The tables of customers."""
    links: list[Row] = []
    sessions: dict[str, tuple[int, int, list[Row]]] = {}
    for stream in streams:
        taken = [event for event in stream if event.type in CONTACT]
        if taken:
            links += sorted(_links(taken), key=lambda link: str(link["person"]))
            times = [event.occurred_at_us for event in taken]
            answers = _data(taken, "model.response")
            sessions[taken[0].stream] = (min(times), max(times), answers)
    customers = []
    spending = []
    for person in sorted({link["person"] for link in links}):
        mine = [link for link in links if link["person"] == person]
        held = [sessions[link["stream"]] for link in mine]
        cost = spent([answer for _, _, answers in held for answer in answers])
        latest = sorted(mine, key=lambda link: (sessions[link["stream"]][1], link["stream"]))
        names = [link["name"] for link in latest if link["name"] is not None]
        customers.append(
            {
                "person": person,
                "name": _last(names),
                "conversations": len(mine),
                "first_contact_at": text(min(first for first, _, _ in held)),
                "last_contact_at": text(max(last for _, last, _ in held)),
                "cost": cost,
            }
        )
        priced = [a for *_, answers in held for a in answers if a.get("cost") is not None]
        for currency in sorted(cost):
            count = sum(answer.get("currency", "USD") == currency for answer in priced)
            row = {"person": person, "currency": currency, "answers": count}
            spending.append({**row, "cost": cost[currency]})
    return {
        "customers": customers,
        "customer_conversations": sorted(links, key=lambda row: (row["person"], row["stream"])),
        "customer_costs": spending,
    }


def _links(taken: Sequence[Recorded]) -> Iterable[Row]:
    stream = taken[0].stream
    starts = [event for event in taken if event.type == "session.started"]
    named = [
        [party for party in event.data.get("parties", []) if party["role"] == "customer"]
        for event in starts
    ]
    subjects = list(dict.fromkeys(filter(None, map(subject_of, taken))))
    for number, subject in enumerate(subjects):
        link = {"person": subject, "stream": stream, "known_by": "subject", "name": None}
        if number == 0 and named:
            link["name"] = named[-1][0].get("name") if len(named[-1]) == 1 else None
        yield link
    if not subjects:
        keyed = [(party.get("id") or party.get("address"), party) for ps in named for party in ps]
        for key in dict.fromkeys(key for key, _ in keyed if key):
            first = next(party for other, party in keyed if other == key)
            name = first.get("name")
            yield {"person": key, "stream": stream, "known_by": "party", "name": name}


def spent(answers: Iterable[Row]) -> dict[str, Decimal]:
    """Exact sums by currency."""
    totals: dict[str, Decimal] = {}
    with localcontext(prec=100):
        for answer in answers:
            if answer.get("cost") is not None:
                currency = answer.get("currency", "USD")
                totals[currency] = totals.get(currency, Decimal(0)) + Decimal(answer["cost"])
    return totals


def subject_of(event: Recorded) -> str | None:
    """The subject in an event's metadata, where that is text."""
    subject = event.metadata.get("subject")
    return subject if isinstance(subject, str) and subject else None


def text(us: int) -> str:
    """A moment as the tables show it."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond:06}Z"


def parsed(table: str, row: Row) -> Row:
    """A row as SQL gives it, with its JSON and its exact numbers read."""
    for name in ("parties", "decision_reasons"):
        if row.get(name) is not None:
            row[name] = json.loads(row[name])
    if "cost" in row:
        is_one = table in ("costs", "customer_costs")
        cost = row["cost"]
        row["cost"] = (
            Decimal(cost) if is_one else {c: Decimal(v) for c, v in json.loads(cost).items()}
        )
    return row


def _data(events: Iterable[Recorded], type_name: str) -> list[Row]:
    return [event.data for event in events if event.type == type_name]


def _said(data: Row | None, name: str, default: Any = None) -> Any:
    return None if data is None else data.get(name, default)


def _last(values: Sequence[Any]) -> Any:
    return values[-1] if values else None


def _place(event: Recorded) -> tuple[str, int]:
    return event.stream, event.version
