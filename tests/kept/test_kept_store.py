"""A store written by refold 0.1.0 (schema 5) opens today and says the same.

`store-0.1.0.sqlite` holds calls, notes, a meter, a wallet, branches, packed and unpacked appends,
snapshots and read models; `store-0.1.0.json` holds what refold 0.1.0 itself answered of it.
"""

import json
import shutil
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

import refold
from refold import Query
from refold.conversation import Conversation
from refold.errors import UsageError
from refold.ledger import Balances, wallet
from refold.ledger.commands import PlaceBet
from refold.projections import Projector
from refold.readmodels import built_in

HERE = Path(__file__).parent
STREAMS_FOLDED = ["call-0", "call-1", "call-5", "call-1~whatif", "call-1~whatif~again"]
TABLES = ["conversations", "costs", "customers", "tool_calls", "tool_usage"]


def events_of(store: refold.Store) -> list[dict[str, Any]]:
    """Every event with all that is known of it."""
    return [
        {
            "id": e.id,
            "position": e.position,
            "type": e.type,
            "schema": e.stored_kind.schema,
            "occurred_at": e.occurred_at_us,
            "recorded_at": e.recorded_at_us,
            "raw": e.raw.decode(),
            "metadata": dict(e.metadata),
        }
        for e in store.read_all()
    ]


def states_of(store: refold.Store) -> dict[str, Any]:
    """Folds now and then, by every clock."""
    found: dict[str, Any] = {}
    moment = next(iter(store.read("call-1", from_version=5))).recorded_at_us
    for stream in STREAMS_FOLDED:
        found[stream] = store.fold(stream, Conversation)
        found[f"{stream} at 4"] = store.fold(stream, Conversation, version=4)
        found[f"{stream} known"] = store.fold(stream, Conversation, recorded_until=moment)
        found[f"{stream} happened"] = store.fold(stream, Conversation, occurred_until=moment)
    found["wallet"] = store.fold("agent-1", Balances)
    found["wallet at 2"] = store.fold("agent-1", Balances, version=2)
    return found


def answers(store: refold.Store) -> Any:
    """What a store says, as plain JSON values."""
    tagged = store.read_all(matching=Query(tags=["caller:1"]))
    voice, both = store.find("voice-1"), store.find("both")
    assert voice is not None
    assert both is not None
    said = {
        "events": events_of(store),
        "branches": {s: [e.id for e in store.read(s)] for s in STREAMS_FOLDED},
        "backward": [e.id for e in store.read("meter-1", direction="backward", limit=200)],
        "streams": [tuple(info) for info in store.streams()],
        "states": states_of(store),
        "tagged": [e.id for e in tagged],
        "found": [[(a.stream, a.version, a.position) for a in found] for found in (voice, both)],
    }
    return json.loads(msgspec.json.encode(said))


def without(value: Any, names: set[str]) -> Any:
    """A JSON value without the members of these names, wherever they are."""
    if isinstance(value, dict):
        return {name: without(one, names) for name, one in value.items() if name not in names}
    return [without(one, names) for one in value] if isinstance(value, list) else value


def rows_of(store: refold.Store) -> Any:
    """What the read models hold."""
    projector = Projector(store, built_in())
    return {
        table: json.loads(
            msgspec.json.encode(sorted(map(repr, projector.query(f"SELECT * FROM {table}"))))
        )
        for table in TABLES
    }


@pytest.fixture
def store(tmp_path: Path) -> Iterator[refold.Store]:
    """A copy of the kept store, open."""
    path = tmp_path / "agents.db"
    shutil.copy(HERE / "store-0.1.0.sqlite", path)
    with refold.open(path, mode="write") as opened:
        yield opened


@pytest.fixture(scope="module")
def said() -> Any:
    """What refold 0.1.0 answered."""
    return json.loads((HERE / "store-0.1.0.json").read_text())


def test_an_old_store_answers_as_it_did(store: refold.Store, said: Any) -> None:
    """Events to the byte, streams, branches, states at every clock, tags and keys are the same.

    But for what a state says beside, since then: of how many answers tokens and cost are known.
    """
    now = answers(store)
    assert "counted" not in str(said) and "priced" not in str(said)
    for question, answer in now.items():
        answer = without(answer, {"counted", "priced"})
        assert answer == said[question], question


def test_an_old_store_is_healthy(store: refold.Store) -> None:
    """`doctor` finds nothing wrong with it."""
    assert [check for check in store.check() if not check.good] == []


def test_old_read_models_are_kept_up_from_where_they_stood(store: refold.Store, said: Any) -> None:
    """Their rows are the same, and the next event is added to them without a rebuild.

    But for the costs, which count more by now: they ask for one, and are as they were till then.
    """
    assert rows_of(store) == said["rows"]
    store.append("call-0", [refold.Event("user.utterance", {"text": "Are you there?"})])
    with pytest.raises(UsageError, match="refold projections rebuild costs"):
        Projector(store, built_in()).catch_up()
    projector = Projector(store, [one for one in built_in() if one.name != "costs"])
    projector.catch_up()
    turns = "SELECT user_turns FROM conversations WHERE stream = 'call-0'"
    assert projector.query(turns) == [(3,)]


def test_keys_of_an_old_store_still_hold(store: refold.Store, said: Any) -> None:
    """What was appended under a key is known under it, packed or not; other bytes are refused."""
    (old,) = said["found"][0]
    late = [refold.Event("user.utterance", {"text": "One more thing."})]
    assert store.append("call-5", late, key="late").duplicate
    found = store.find("voice-1")
    assert found is not None
    assert [found[0].stream, found[0].version, found[0].position] == old
    with pytest.raises(refold.RefoldError) as refused:
        store.append("call-1", [refold.Event("dtmf.received", {"digits": "9"})], key="voice-1")
    assert refused.value.code == "key_reused"


def test_a_command_of_an_old_store_is_not_done_twice(store: refold.Store) -> None:
    """The same command under its id gets the first outcome, though the state has changed since."""
    bet = PlaceBet(bet="b1", amount=Decimal("4"), asset="USDC")
    again = store.execute("agent-1", wallet, bet, command_id="bet b1")
    assert again is not None
    assert again.duplicate
    with pytest.raises(refold.Rejected):
        store.execute("agent-1", wallet, PlaceBet(bet="b9", amount=Decimal("99"), asset="USDC"))


def test_an_old_store_goes_on(store: refold.Store, said: Any) -> None:
    """Versions and positions follow those there; packing all of it changes no event."""
    last = said["events"][-1]["position"]
    appended = store.append("call-1", [refold.Event("dtmf.received", {"digits": "9"})], expected=15)
    assert (appended.version, appended.position) == (16, last + 1)
    store.append("meter-1", [refold.Event("meter.read", {"value": 1})], expected=319)
    store.compact()
    assert events_of(store)[:last] == said["events"]


def test_the_kept_answers_say_something(said: Any) -> None:
    """None of the questions has an empty answer."""
    assert len(said["events"]) > 400
    assert all(said.values())
