"""Finding streams: what `refold.readmodels.find` gives is what a look through all events gives."""

import re
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import refold
from refold.conversation import (
    AgentConfigured,
    AgentUtterance,
    Attributes,
    LabelRecorded,
    ModelFailed,
    ModelResponse,
    Party,
    Prompt,
    ScoreRecorded,
    SessionEnded,
    SessionStarted,
    ToolCall,
    ToolRelayed,
    ToolResult,
    UserUtterance,
)
from refold.core.event import category_of
from refold.errors import UsageError
from refold.projections import Projector
from refold.readmodels import Wanted, find
from refold.readmodels.searching import attributes_in, search
from refold.replay import Variant, branch_name

DAY_US = 86_400_000_000
NOON_US = 1_772_366_400_000_000
NAMES = st.sampled_from(["desk", "Desk", "back office", "NOT", '"', "ü"])
# Words that are operators, signs, accents and scripts without spaces to FTS5 and to others.
WORDS = st.sampled_from(
    [
        *("refund", "Refund", "café", "CAFE\u0301", "AND", "NOT", "NEAR(a b)", '"', "*", "-", "ß"),
        *(
            "don't",
            "order-42",
            "返金を",
            "金",
            "返",
            "ขอบคุณ",
            "привет",
            "a:b",
            "^a",
            "{a}",
            "😀",
            "\0",
        ),
    ]
)
TEXTS = st.lists(WORDS, max_size=4).map(" ".join)
PROMPTS = [Prompt("a"), Prompt("b", id="desk"), Prompt("c", id="ü", hash="abcd1"), Prompt("")]
COSTS = st.none() | st.sampled_from([Decimal("0.1"), Decimal("0.2"), Decimal("1E-20"), Decimal(3)])
PAYLOADS: st.SearchStrategy[Any] = st.one_of(
    st.builds(UserUtterance, text=TEXTS),
    st.builds(AgentUtterance, text=TEXTS, party=st.none() | NAMES),
    st.builds(
        AgentConfigured,
        agent=st.none() | NAMES,
        model=st.none() | NAMES,
        version=st.none() | NAMES,
        prompt=st.none() | st.sampled_from(PROMPTS),
    ),
    st.builds(
        SessionStarted,
        parties=st.lists(
            st.builds(Party, role=st.sampled_from(["agent", "customer"]), name=NAMES), max_size=2
        ),
    ),
    st.builds(
        ModelResponse,
        model=st.none() | NAMES,
        cost=COSTS,
        currency=st.sampled_from(["USD", "EUR"]),
    ),
    st.builds(ModelFailed, error=TEXTS),
    st.builds(
        ToolCall, call_id=st.just("c"), name=NAMES, parsed=st.none() | st.dictionaries(NAMES, TEXTS)
    ),
    st.builds(
        ToolResult,
        call_id=st.just("c"),
        name=st.none() | NAMES,
        is_error=st.booleans(),
        result=st.none()
        | TEXTS
        | st.lists(TEXTS | st.integers(0, 99), max_size=2)
        | st.sampled_from(
            [{"error": "no"}, {"error": None}, ' {"isError": true}', '{"is_error": 1', "{}"]
        ),
    ),
    st.builds(ToolRelayed, call_id=st.just("c"), result=TEXTS),
    st.builds(LabelRecorded, name=st.sampled_from(["tag", "outcome"]), value=NAMES, rater=NAMES),
    st.builds(SessionEnded, reason=st.sampled_from(["completed", "error"]), error=st.none()),
    st.just(refold.Event("order.placed", {"text": "refund"})),
)
APPENDS = st.lists(
    st.tuples(
        st.sampled_from(["call-1", "call-2", "order-1"]),
        st.lists(st.tuples(PAYLOADS, st.integers(-3, 3)), min_size=1, max_size=4),
    ),
    max_size=6,
)
MOMENTS = st.none() | st.integers(-3, 3).map(lambda days: NOON_US + days * DAY_US)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "since": MOMENTS,
        "until": MOMENTS,
        "agent": NAMES,
        "model": NAMES,
        "tool": NAMES,
        "tag": NAMES,
        "outcome": NAMES | st.sampled_from(["open", "completed", "error"]),
        "prompt_version": NAMES | st.sampled_from(["abcd", "abcd1", PROMPTS[0].hash[:9]]),
        "category": st.sampled_from(["call", "order", "call~"]),
        "with_error": st.just(True),
        "cost_over": st.sampled_from([Decimal(0), Decimal("0.3"), Decimal("0.30000000000000001")]),
        "text": st.lists(WORDS, min_size=1, max_size=2).map(" ".join),
    },
)


def tokens(text: str) -> list[str]:
    """The words of a text: letters and digits in a row, without accents; Han and Thai by letter."""
    plain = unicodedata.normalize("NFD", text.lower())
    plain = re.sub("[\u0300-\u036f]", "", plain)
    plain = re.sub("([\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff])", r" \1 ", plain)
    return "".join(c if unicodedata.category(c)[0] in "LN" else " " for c in plain).split()


def says(text: str, wanted: str) -> bool:
    """Whether all the words, each of which may be several in a row, stand in a text."""
    heard = tokens(text)
    rows = [row for word in wanted.replace("\0", " ").split() if (row := tokens(word))]
    return all(
        any(heard[at : at + len(row)] == row for at in range(len(heard) - len(row) + 1))
        for row in rows
    )


def flat(value: Any) -> str:
    """The text in a JSON value."""
    if isinstance(value, dict):
        return " ".join(f"{key} {flat(one)}" for key, one in value.items())
    if isinstance(value, list):
        return " ".join(map(flat, value))
    return "" if value is None else str(value)


def said(event: refold.Recorded) -> str:
    """What an event says, of its plain JSON."""
    data = event.data
    match event.type:
        case "user.utterance" | "agent.utterance":
            return str(data["text"])
        case "tool.call":
            given = data.get("parsed")
            return f"{data['name']} {data.get('arguments', '{}') if given is None else flat(given)}"
        case "tool.result" | "tool.relayed":
            return flat(data.get("result"))
        case "model.failed" | "session.ended":
            return str(data.get("error") or "")
    return ""


def names_in(event: refold.Recorded, kind: str) -> Iterator[str | None]:
    """The names of a kind that an event mentions."""
    data = event.data
    places: dict[str, dict[str, str]] = {
        "tag": {},
        "agent": {"agent.configured": "agent", "agent.utterance": "party"},
        "model": {"agent.configured": "model", "model.response": "model"},
        "tool": {"tool.call": "name", "tool.result": "name"},
    }
    if event.type in places[kind]:
        yield data.get(places[kind][event.type])
    if event.type == "label.recorded" and kind == "tag" == data["name"]:
        yield data["value"]
    if kind == "agent" and event.type == "session.started":
        yield from (one["name"] for one in data.get("parties", []) if one["role"] == "agent")


def tells(result: Any) -> bool:
    """Whether a result is an object that says that it is an error."""
    return result in ({"error": "no"}, ' {"isError": true}')


def outcome_of(events: Sequence[refold.Recorded]) -> str:
    """The last label of that name, else why it ended since it last began; else open."""
    ended = "open"
    for event in events:
        if event.type in ("session.started", "session.ended"):
            is_end = event.type == "session.ended"
            ended = event.data.get("reason", "completed") if is_end else "open"
    labels = [event.data for event in events if event.type == "label.recorded"]
    return str([ended, *(one["value"] for one in labels if one["name"] == "outcome")][-1])


def has_prompt(events: Sequence[refold.Recorded], wanted: str) -> bool:
    """Whether a prompt of this label, or whose hash begins so, was configured."""
    configured = [event.data for event in events if event.type == "agent.configured"]
    prompts = [one["prompt"] for one in configured if one.get("prompt")]
    labels = {one.get("version") for one in configured if one.get("prompt")}
    labels |= {one.get("id") for one in prompts}
    begins = len(wanted) >= 4 and any(one["hash"].startswith(wanted) for one in prompts)
    return wanted in labels or begins


def failed(event: refold.Recorded) -> bool:
    """Whether an event is that something failed."""
    data = event.data
    return (
        event.type == "model.failed"
        or (event.type == "tool.result" and bool(data.get("is_error") or tells(data.get("result"))))
        or (event.type == "session.ended" and data.get("reason", "completed") == "error")
    )


def fits(events: Sequence[refold.Recorded], options: dict[str, Any]) -> bool:
    """Whether a stream of these own events is as wanted."""
    lasting = [event for event in events if event.type != "label.recorded"] or events[:1]
    if events[0] not in lasting:
        lasting = [events[0], *lasting]  # A stream begins with whatever is first in it.
    times = [event.occurred_at_us for event in lasting]
    spent: dict[str, Decimal] = {}
    for event in events:
        if event.type == "model.response" and event.data.get("cost") is not None:
            currency = event.data.get("currency", "USD")
            spent[currency] = spent.get(currency, Decimal(0)) + Decimal(event.data["cost"])
    checks: dict[str, Callable[[Any], bool]] = {
        "since": lambda since: since is None or max(times) >= since,
        "until": lambda until: until is None or min(times) <= until,
        "with_error": lambda _: any(map(failed, events)),
        "cost_over": lambda least: any(cost > least for cost in spent.values()),
        "text": lambda words: any(says(said(event), words) for event in events if said(event)),
    }
    checks["outcome"] = lambda wanted: outcome_of(events) == wanted
    checks["prompt_version"] = lambda wanted: has_prompt(events, wanted)
    checks["category"] = lambda wanted: category_of(events[0].stream) == wanted
    for kind in ("agent", "model", "tool", "tag"):
        named = {name for event in events for name in names_in(event, kind)}
        checks[kind] = named.__contains__
    return all(checks[name](value) for name, value in options.items())


def naive(store: refold.Store, options: dict[str, Any]) -> list[str]:
    """The streams as wanted, from a look through the whole log."""
    own: dict[str, list[refold.Recorded]] = {}
    for event in store.read_all():
        if event.type != "session.forked":
            own.setdefault(event.stream, []).append(event)
    return sorted(stream for stream, events in own.items() if fits(events, options))


def has_words(text: str) -> bool:
    """Whether there is anything to look for."""
    return bool(tokens(text.replace("\0", " ")))


@given(appends=APPENDS, options=OPTIONS, pauses=st.sets(st.integers(0, 5)))
@example([("call-1", [(UserUtterance("返金を"), 0)])], {"text": "金"}, set())
@example([("call-1", [(UserUtterance('say "NOT" * '), 0)])], {"text": 'NOT " *'}, set())
@settings(max_examples=60)
def test_the_streams_that_are_found_are_those_that_a_look_at_all_events_finds(
    appends: Any, options: dict[str, Any], pauses: set[int]
) -> None:
    """Any options over any history, kept up to date in pieces or at once, branches too."""
    bounds = [options.get("since") or 0, options.get("until") or 2**60]
    if bounds[0] > bounds[1] or not has_words(options.get("text", "a")):
        with pytest.raises(UsageError):
            Wanted(**options)
        return
    with refold.open("memory:") as store:
        for number, (stream, events) in enumerate(appends):
            timed = [
                refold.Event.of(one, occurred_at=NOON_US + days * DAY_US)
                if not isinstance(one, refold.Event)
                else one
                for one, days in events
            ]
            store.append(stream, timed)
            if number in pauses:
                find(store, Wanted())
                name = f"{stream}~{number}"
                store.branch(stream).adding(UserUtterance("refund 返金を")).save(name)
        found = find(store, Wanted(**options))
        assert sorted(found.streams) == naive(store, options)
        assert find(store, Wanted(**options), rows=refold.open("memory:")) == found
        if "text" in options:
            assert found.positions == frozenset(
                e.position for e in store.read_all() if said(e) and says(said(e), options["text"])
            )


def test_what_is_asked_must_be_able_to_hold() -> None:
    """Times the wrong way round, no words, an amount that is none: refused at once."""
    wrongs: dict[str, dict[str, Any]] = {
        "is after until": {"since": "2026-03-02", "until": "2026-03-01"},
        "is not 1 to 100 words": {"text": ' "!" - 😀 \0'},
        "text='a0 a1": {"text": " ".join(f"a{n}" for n in range(101))},
        "no amount of money": {"cost_over": Decimal("NaN")},
        "is no amount": {"cost_over": "much"},
        "from 0 on": {"cost_over": "-1"},
        "not an instant": {"since": "yesterday"},
    }
    for wrong, given_ in wrongs.items():
        with pytest.raises(UsageError, match=wrong):
            Wanted(**given_)
    with pytest.raises(UsageError, match=r"wanted=.* is not a refold.readmodels.Wanted"):
        find(refold.open("memory:"), {"text": "a"})  # type: ignore[arg-type]


def test_a_name_that_no_stream_has_is_told_with_those_that_there_are() -> None:
    """Only where nothing is found, and of the kind that was asked for."""
    with refold.open("memory:") as store:
        store.append("call-1", [AgentConfigured(agent="desk", model="small-1")])
        nothing = find(store, Wanted(model="small", agent="desk"))
        assert (len(nothing.streams), nothing.unknown) == (0, [("model", "small", ["small-1"])])
        assert find(store, Wanted(agent="desk")).unknown == []


def test_no_replay_is_found() -> None:
    """What a replay asked never happened; other branches are found by what they hold themselves."""
    replayed = branch_name("call-1", Variant(model="m"), 0)
    with refold.open("memory:") as store:
        store.append("call-1", [UserUtterance("a refund"), UserUtterance("please")])
        store.branch("call-1", at=0).adding(UserUtterance("now")).save("call-1~b")
        store.branch("call-1", at=0).adding(UserUtterance("now")).save(replayed)
        store.append("replay~plan-0123456789ab", [UserUtterance("now")])
        assert sorted(find(store, Wanted(text="now")).streams) == ["call-1~b"]
        assert sorted(find(store, Wanted()).streams) == ["call-1", "call-1~b"]


def test_a_branch_that_holds_only_bytes_of_the_wire_is_not_found() -> None:
    """It holds nothing that was said or done."""
    with refold.open("memory:") as store:
        store.append("call-1", [UserUtterance("a")])
        store.branch("call-1").adding(refold.Event("wire.answer", {"text": "a"})).save("call-1~b")
        assert sorted(find(store, Wanted()).streams) == ["call-1"]


def test_a_store_that_is_only_read_has_its_rows_elsewhere(tmp_path: Any) -> None:
    """In memory, where the log is gone through each time."""
    with refold.open(tmp_path / "a.db") as store:
        store.append("call-1", [UserUtterance("hello there")])
    with refold.open(tmp_path / "a.db", mode="read") as store, refold.open("memory:") as rows:
        with pytest.raises(UsageError, match="opened for reading"):
            find(store, Wanted(text="hello"))
        assert find(store, Wanted(text="hello"), rows=rows).streams == {"call-1"}


def test_a_journal_is_gone_through(tmp_path: Any) -> None:
    """It keeps its tables in memory, opened for reading or for more."""
    with refold.open(tmp_path / "a.jsonl") as store:
        store.append("call-1", [UserUtterance("hello there")])
        assert find(store, Wanted(text="hello")).streams == {"call-1"}
    with refold.open(tmp_path / "a.jsonl", mode="read") as store:
        assert find(store, Wanted(text="hello")).streams == {"call-1"}


def test_rows_that_another_refold_made_are_made_anew(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has to run a rebuild to find something; the old tables are dropped, words and all."""
    with refold.open(tmp_path / "a.db") as store:
        store.append("call-1", [UserUtterance("hello")])
        find(store, Wanted())
        monkeypatch.setattr(search, "revision", search.revision + 1)
        monkeypatch.setattr(search, "_made", None)
        told: list[tuple[int, int]] = []
        found = find(store, Wanted(text="hello"), progress=lambda *done: told.append(done))
        assert (found.streams, found.positions) == (frozenset({"call-1"}), frozenset({1}))
        assert told == [(1, 1)]
        names = Projector(store, []).query("SELECT name FROM sqlite_schema WHERE name LIKE '%@%'")
        assert names
        assert [name for (name,) in names if "@2" not in name] == []


def test_a_stream_that_could_not_be_read_is_told(tmp_path: Any) -> None:
    """An event of the vocabulary that is none: what follows it in its stream is not found."""
    odd = [refold.Event("user.utterance", {"text": "hello"}), refold.Event("tool.call", {})]
    with refold.open(tmp_path / "a.db", registry=refold.Registry()) as store:
        store.append("call-1", odd)
        store.append("call-2", odd[:1])
    with refold.open(tmp_path / "a.db") as store:
        found = find(store, Wanted(text="hello"))
        assert (sorted(found.streams), found.unread) == (["call-1", "call-2"], ["call-1"])


def test_sql_finds_events_by_their_words() -> None:
    """The view `search` is for anybody's SELECTs; it keeps no text of its own."""
    with refold.open("memory:") as store:
        store.append("call-1", [UserUtterance("hello there"), UserUtterance("bye")])
        projector = Projector(store, [search])
        projector.catch_up()
        found = projector.query("SELECT position, stream, text FROM search WHERE text MATCH 'bye'")
        assert found == [(2, "call-1", None)]


def test_a_label_is_no_sign_of_life() -> None:
    """What is said of a conversation later does not make it one of last week."""
    with refold.open("memory:") as store:
        old = refold.Event.of(UserUtterance("hi"), occurred_at=NOON_US)
        store.append("call-1", [old])
        store.append("call-1", [LabelRecorded("tag", "odd", "ann"), ScoreRecorded("x", 1, "ann")])
        assert find(store, Wanted(since=NOON_US + DAY_US)).streams == frozenset()
        assert find(store, Wanted(tag="odd", since=NOON_US)).streams == {"call-1"}


def test_a_sample_is_the_same_wherever_it_is_taken(tmp_path: Any) -> None:
    """By seed, of what fits; another seed gives another; what is new moves few of the others."""
    with refold.open(tmp_path / "a.db") as store:
        for number in range(50):
            store.append(f"call-{number}", [UserUtterance("hi")])
            store.append(f"mail-{number}", [UserUtterance("hi")])
        wanted = Wanted(sample=5, seed=7, category="call")
        first = find(store, wanted).streams
        assert sorted(first) == ["call-12", "call-16", "call-22", "call-47", "call-49"]
        assert find(store, Wanted(sample=5, seed=8, category="call")).streams != first
        assert find(store, wanted, among=lambda one: one != "call-12").streams >= first - {
            "call-12"
        }
        store.append("call-50", [UserUtterance("hi")])
        assert len(find(store, wanted).streams & first) >= 4
        assert len(find(store, Wanted(sample=500)).streams) == 101


def test_a_stratified_sample_has_some_of_each() -> None:
    """About its share, and one at least of each value; those of none are a stratum too."""
    with refold.open("memory:") as store:
        for number in range(40):
            task = {"task": "a" if number < 30 else "b"} if number != 39 else {}
            store.append(f"call-{number}", [UserUtterance("hi")], metadata=task)
        taken = find(store, Wanted(sample=8, stratify="task")).streams
        sizes = [
            sum(int(one[5:]) in of for one in taken) for of in (range(30), range(30, 39), [39])
        ]
        assert sizes == [5, 2, 1]


def test_a_prompt_is_known_by_its_label_or_hash() -> None:
    """The beginning of a hash that several have is refused, and a wrong one is told."""
    prompts = [
        Prompt("a", hash="abcd11"),
        Prompt("b", hash="abcd22", id="v1"),
        Prompt("c", id="v10"),
    ]
    with refold.open("memory:") as store:
        for number, prompt in enumerate(prompts):
            store.append(f"call-{number}", [AgentConfigured(prompt=prompt)])
        for asked, stream in (("abcd1", "call-0"), ("abcd22", "call-1"), ("v1", "call-1")):
            assert find(store, Wanted(prompt_version=asked)).streams == {stream}
        with pytest.raises(UsageError, match="'abcd' begins several hashes: abcd11, abcd22"):
            find(store, Wanted(prompt_version="abcd"))
        (unknown,) = find(store, Wanted(prompt_version="v2")).unknown
        assert unknown[:2] == ("prompt version", "v2")


METADATA = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(["task", "agent", "run", "subject", "team"], st.sampled_from("ab")),
        "tags": st.lists(st.sampled_from(["x", "y"]), max_size=2, unique=True),
    },
)
SAID = st.one_of(
    st.just(refold.Event("order.placed", {})),
    st.just(SessionStarted(parties=[Party(role="customer", id="c")])),
    st.just(UserUtterance("hi")),
    st.builds(
        LabelRecorded,
        name=st.sampled_from(["tag", "outcome"]),
        value=st.just("z"),
        rater=st.just("ann"),
    ),
)


@given(appends=st.lists(st.tuples(SAID, METADATA), min_size=1, max_size=6))
@settings(max_examples=60)
def test_a_stream_is_found_by_what_it_is_known_by(appends: Any) -> None:
    """Of whatever type its events are, the user's own too: as `Attributes.of` has it."""
    with refold.open("memory:") as store:
        for said_, metadata in appends:
            store.append("order-1", [said_], metadata=metadata)
        known = Attributes.of(store.read("order-1"))
        projector = Projector(store, [search])
        projector.catch_up()
        ((row,),) = projector.query("SELECT attributes FROM search_streams")
        assert attributes_in(row) == known
        for name in ("a", "b", "x", "y", "z"):
            assert bool(find(store, Wanted(tag=name)).streams) == (name in known.tags)
            assert bool(find(store, Wanted(agent=name)).streams) == (name in known.agents)


def test_a_name_is_known_however_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than are told: what a stream has is not said to be in none."""
    monkeypatch.setattr("refold.readmodels.finding.NAMES_MAX", 2)
    with refold.open("memory:") as store:
        for number in range(5):
            agent = AgentConfigured(agent=f"a{number}", prompt=Prompt("p", id=f"dead{number}"))
            store.append(f"call-{number}", [agent, SessionEnded(reason=f"r{number}")])
        for number in range(5):
            wanted = Wanted(
                agent=f"a{number}", prompt_version=f"dead{number}", outcome=f"r{number}", tool="no"
            )
            assert [one[:2] for one in find(store, wanted).unknown] == [("tool", "no")]


def test_a_version_of_an_agent_without_a_prompt_is_none_of_a_prompt() -> None:
    """Nor does the prompt of another configuration of the same stream make it one."""
    with refold.open("memory:") as store:
        store.append("call-1", [AgentConfigured(version="v1"), AgentConfigured(prompt=Prompt("a"))])
        store.append("call-2", [AgentConfigured(version="v1", prompt=Prompt("a"))])
        assert find(store, Wanted(prompt_version="v1")).streams == {"call-2"}


OTHER_UPCASTERS = """
import sys
import refold
from refold.conversation import UserUtterance
from refold.core.registry import default_registry
from refold.readmodels import Wanted, find

@default_registry.upcast("note.taken", schema=1, into=["user.utterance"])
def heard(data):
    return [UserUtterance(text) for text in data["texts"]]

with refold.open(sys.argv[1]) as store:
    print(*(len(find(store, Wanted(text=word)).positions) for word in ("teapot", "umbrella")))
"""


def test_two_programs_with_other_upcasters_do_not_undo_each_others_rows(tmp_path: Any) -> None:
    """Each goes on with the rows that it made; of what one event is split into, all is found."""
    path = tmp_path / "a.db"

    def other() -> str:
        done = subprocess.run(
            [sys.executable, "-c", OTHER_UPCASTERS, str(path)],
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    with refold.open(path) as store:
        note = refold.Event("note.taken", {"texts": ["a teapot", "an umbrella"]})
        store.append("call-1", [note])
        assert find(store, Wanted(text="teapot")).positions == frozenset()
        assert other() == "1 1"
        generations = []
        for number in range(3):
            store.append("call-1", [UserUtterance("a teapot"), note])
            assert len(find(store, Wanted(text="teapot")).positions or ()) == number + 1
            assert other() == f"{2 * number + 3} {number + 2}"
            generations.append(Projector(store, [search]).status()[0].generation)
        assert generations == [2, 2, 2]
