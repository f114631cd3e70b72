"""The sealer: the same tree however it is reached, through races, kills and packing."""

import itertools
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import refold
from refold import Event
from refold.audit import reading, verify
from refold.audit.entry import StreamTip
from refold.audit.note import parse_checkpoint, parse_note
from refold.audit.sealer import SealedByAnother, Sealer
from refold.audit.sealing import LastHead
from refold.audit.tables import SealTables, tables_of
from refold.engine.store import system_clock
from refold.errors import ProofError, Unavailable
from refold.times import restart_clock
from tests.audit.sealed import (
    KINDS,
    drawn,
    key_of,
    plain_entries,
    plain_root,
    sealed_by,
    sealer_of,
    told,
)
from tests.support.stores import url_of


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[refold.Store]:
    """An empty store of each kind."""
    with refold.open(url_of(request.param, tmp_path), synchronous="NORMAL") as opened:
        yield opened


def root_in(note: str) -> bytes:
    """The root that a checkpoint says."""
    return parse_checkpoint(parse_note(note).text).root


def test_the_root_is_that_of_the_entries_as_the_format_says(store: refold.Store) -> None:
    """Made again event by event from the page of the format, by nothing that the sealer uses."""
    told(store)
    sealer = sealer_of(store)
    assert sealer.seal() == store.log_head()
    assert root_in(sealer.signed(key_of())) == plain_root(plain_entries(store))


@settings(max_examples=20)
@given(
    steps=st.lists(
        st.tuples(st.integers(1, 40), st.sampled_from(["call-1", "call-2", "a"]), st.booleans()),
        max_size=40,
    ),
    page=st.integers(1, 5),
    kind=st.sampled_from(["memory", "postgres"]),
)
def test_any_split_into_steps_comes_to_the_same_root(
    steps: list[tuple[int, str, bool]], page: int, kind: str
) -> None:
    """Sealed after any of the appends, by any number of appends at once, by one sealer or more."""
    with (
        refold.open(url_of(kind, Path()), synchronous="NORMAL") as store,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(reading, "APPENDS_PER_PAGE", page)
        sealer = sealer_of(store)
        for number, (count, stream, is_sealed) in enumerate(steps):
            store.append(stream, [Event("x", {"n": number}) for _ in range(count)])
            if is_sealed:
                sealer.seal()
                other = Sealer(store, draw=drawn)
                assert other.signed(key_of()) == sealer.signed(key_of())
                sealer = other if number % 2 else sealer
        sealer.seal()
        assert root_in(sealer.signed(key_of())) == plain_root(plain_entries(store))
        assert verify(store, deep=True).findings == []


def test_what_is_packed_is_sealed_as_what_is_not(tmp_path: Path) -> None:
    """Half of it sealed, all of it packed, then the rest sealed: the same root, and verified."""
    with refold.open(tmp_path / "a.db", synchronous="NORMAL") as store:
        told(store)
        sealer = sealer_of(store)
        sealer.seal()
        told(store)
        store.compact()
        sealer.seal()
        told(store)
        store.compact()
        sealer.seal()
        assert root_in(sealer.signed(key_of())) == plain_root(plain_entries(store))
        assert verify(store, deep=True).findings == []


@pytest.mark.parametrize("kind", KINDS)
def test_time_that_begins_again_is_sealed(kind: str, tmp_path: Path) -> None:
    """A clock that was years ahead, events that stand behind it, and the stream that mends it."""
    now = [system_clock() + 10**14]
    with refold.open(url_of(kind, tmp_path), clock=lambda: now[0]) as store:
        told(store, rounds=1)
        now[0] -= 10**14
        told(store, rounds=1)
        restart_clock(store)
        told(store, rounds=1)
        sealer = sealer_of(store)
        sealer.seal()
        assert root_in(sealer.signed(key_of())) == plain_root(plain_entries(store))
        assert verify(store, deep=True).findings == []


def test_nothing_is_signed_twice_otherwise(store: refold.Store) -> None:
    """Asked again it is the same note; after more events, another of a larger size."""
    sealing = sealed_by(store)
    empty = sealing.checkpoint()
    assert sealing.checkpoint() == empty
    assert empty.split("\n")[1] == "0"
    told(store)
    first = sealing.checkpoint()
    assert sealing.checkpoint() == sealed_by(store).checkpoint() == first
    told(store)
    assert int(sealing.checkpoint().split("\n")[1]) == store.log_head()


def test_several_sealers_at_once_make_one_tree(tmp_path: Path) -> None:
    """Four threads seal while two append, each by a connection of its own."""
    url = str(tmp_path / "a.db")
    with refold.open(url, synchronous="NORMAL") as store:
        sealed_by(store)
        done = threading.Event()
        failures: list[BaseException] = []
        notes: list[str] = []

        def seal() -> None:
            try:
                with refold.open(url, synchronous="NORMAL") as own:
                    sealing = sealed_by(own)
                    while not done.is_set():
                        notes.append(sealing.checkpoint())
            except BaseException as error:
                failures.append(error)

        def tell(stream: str) -> None:
            for number in range(60):
                store.append(stream, [Event("x", {"n": number})] * 7)

        sealers = [threading.Thread(target=seal) for _ in range(4)]
        tellers = [threading.Thread(target=tell, args=(f"s-{n}",)) for n in range(2)]
        for thread in (*sealers, *tellers):
            thread.start()
        for thread in tellers:
            thread.join()
        done.set()
        for thread in sealers:
            thread.join()
        assert failures == []
        sealed_by(store).checkpoint()
        heads = {note.split("\n")[1]: note.split("\n")[2] for note in notes}
        assert len({(note.split("\n")[1], note.split("\n")[2]) for note in notes}) == len(heads)
        assert verify(store, deep=True, against=notes[:50]).findings == []


SEAL = """
import sys
import refold
from refold.audit import Sealing
from tests.audit.sealed import key_of
store = refold.open(sys.argv[1], mode="write", synchronous="NORMAL")
sealing = Sealing(store, key_of(), last_head=sys.argv[2])
print("on", flush=True)
while True:
    store.append("call-9", [refold.Event("x", {"n": 1})] * 50)
    sealing.checkpoint()
"""


def test_a_sealer_that_is_killed_leaves_one_tree(tmp_path: Path) -> None:
    """kill -9 while it seals and signs, again and again: what was signed goes on being true."""
    url, head = str(tmp_path / "a.db"), tmp_path / "last.head"
    notes: list[str] = []
    with refold.open(url, synchronous="NORMAL") as store:
        told(store)
    for number in range(4):
        command = [sys.executable, "-c", SEAL, url, str(head)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            process.stdout.readline()
            for _ in range(number * 7 + 1):
                if (note := LastHead(head).read()) is not None:
                    notes.append(note)
                threading.Event().wait(0.01)
            process.send_signal(signal.SIGKILL)
    with refold.open(url, mode="write", synchronous="NORMAL") as store:
        sealed_by(store, last_head=head).checkpoint()
        assert verify(store, deep=True, against=notes).findings == []


def losing(write: Callable[[object], object], lost: int, *, stands: bool) -> object:
    """A keeper's ``write`` that fails at one call, after what it writes ``stands`` or before."""
    calls = itertools.count()

    def failing(work: object) -> object:
        if next(calls) != lost:
            return write(work)
        if stands:
            write(work)
        raise Unavailable("lost")

    return failing


def test_every_failed_write_of_a_step_is_made_good(
    store: refold.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever write is lost, before or after it stood, the sealer goes on to the same root."""
    keeper = store._backend
    told(store)
    sealer = sealer_of(store)
    write = keeper.write  # type: ignore[attr-defined]
    for lost in range(3):
        for stands in (False, True):
            told(store)
            with monkeypatch.context() as patch:
                patch.setattr(keeper, "write", losing(write, lost, stands=stands))
                with pytest.raises(Unavailable):
                    sealer.seal()
                    sealer.signed(key_of())
            sealer.seal()
            assert root_in(sealer.signed(key_of())) == plain_root(plain_entries(store))
    assert verify(store, deep=True).findings == []


def test_two_roots_of_one_size_are_never_signed(store: refold.Store) -> None:
    """Where a head of this size is stored with another root, nothing is signed."""
    told(store)
    sealer = sealer_of(store)
    sealer.seal()
    sql = "INSERT INTO audit_checkpoints (size, root, note, made_at) VALUES (?, ?, NULL, 0)"
    keeper = store._backend
    keeper.write(lambda begin: begin().execute(sql, (sealer.size, bytes(32))))  # type: ignore[attr-defined]
    with pytest.raises(ProofError) as raised:
        sealer.signed(key_of())
    assert raised.value.proof == "head"
    assert [head.note for head in tables_of(store).heads()] == [None]


def test_one_head_an_hour_is_kept_and_the_first(tmp_path: Path) -> None:
    """A second of a day for a year would be more than the events; the signed ones stay true."""
    clock = [3_600_000_000 * 24]
    with refold.open(tmp_path / "a.db", clock=lambda: clock[0]) as store:
        sealing = sealed_by(store)
        notes = []
        for _ in range(30):
            store.append("call-1", [Event("x")])
            notes.append(sealing.checkpoint())
            clock[0] += 600_000_000
        sizes = [head.size for head in tables_of(store).heads()]
        assert sizes == [1, 6, 12, 18, 24, 30]
        assert verify(store, deep=True, against=notes).findings == []


def test_another_stream_of_the_same_name_is_not_sealed_on(store: refold.Store) -> None:
    """A sealer that lost what it knew of a stream does not begin it anew."""
    told(store)
    sealer = sealer_of(store)
    sealer.seal()
    keeper = store._backend
    keeper.write(lambda begin: begin().execute("DELETE FROM audit_streams"))  # type: ignore[attr-defined]
    told(store)
    with pytest.raises(ProofError):
        Sealer(store, draw=drawn).seal()


def test_tips_are_looked_up_in_bounded_pieces(store: refold.Store) -> None:
    """More streams than a statement has values for."""
    for number in range(1_100):
        store.append(f"s-{number}", [Event("x", number)])
    sealer = sealer_of(store)
    sealer.seal()
    tips = tables_of(store).tips(f"s-{number}" for number in range(1_100))
    assert len(tips) == 1_100
    assert isinstance(tips["s-7"], StreamTip)
    assert isinstance(tables_of(store), SealTables)
    assert issubclass(SealedByAnother, Exception)
