"""What every backend does, seen from the port: batches, pages, and nothing half done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from refold.core.expected import ANY, NO_STREAM, Expected
from refold.core.stored import Row
from refold.errors import Conflict, NotFound, UsageError
from refold.ports import Backend, Batch, Checkable, Fork, Outcome, Write

OpenBackend = Callable[[], Backend]
"""Opens the log of the running test: empty at first, and the same one at every call."""


def write(
    stream: str, count: int = 1, expected: Expected = ANY, *, fork: Fork | None = None
) -> Write:
    """A write of so many events, each ``["x",N]``."""
    body = ",".join(f'["x",{number}]' for number in range(count))
    return Write(stream, expected, ("x",) * count, None, f"[{body}]", fork)


class Placed(NamedTuple):
    """Where one write of a batch landed: its first position, and its version range."""

    stream: str
    position: int
    version: int
    event_count: int


class Stored(NamedTuple):
    """What the answers to a batch's writes come to."""

    placed: tuple[Placed, ...]
    recorded_at: int
    duplicate: bool


def stored(outcome: Outcome) -> Stored:
    """The outcome of a batch that must have been stored, of which all parts say the same."""
    assert isinstance(outcome, list), outcome
    ((recorded_at, duplicate),) = {(part.recorded_at_us, part.duplicate) for part in outcome}
    places = [(p.stream, p.position, p.version, p.event_count) for p in outcome]
    placed = [Placed(s, last - n + 1, version - n + 1, n) for s, last, version, n in places]
    return Stored(tuple(placed), recorded_at, duplicate)


def versions(rows: Sequence[Row]) -> list[int]:
    """The first version of each append in a page, however the backend joined them."""
    return sorted(part.version for row in rows for part in row.appends())


def as_text(text: str | bytes | None) -> str | None:
    """JSON text as ``str``."""
    return text.decode() if isinstance(text, bytes) else text


class Committing:
    """Groups of batches."""

    def test_each_batch_of_a_group_has_its_own_outcome(self, open_backend: OpenBackend) -> None:
        """A refused one leaves no trace, and later ones see what the earlier ones stored."""
        backend = open_backend()
        outcomes = backend.commit(
            [
                Batch([write("a", 2, NO_STREAM)]),
                Batch([write("b"), write("a", 1, NO_STREAM)]),
                Batch([write("a", 1, 1)]),
                Batch([write("b", 1, NO_STREAM)]),
            ],
            now=5,
        )
        first, refused, third, fourth = outcomes
        assert stored(first).placed == (("a", 1, 0, 2),)
        assert isinstance(refused, Conflict)
        assert (refused.stream, refused.actual) == ("a", 1)
        assert stored(third).placed == (("a", 3, 2, 1),)
        assert stored(fourth).placed == (("b", 4, 0, 1),)
        assert backend.log_head() == 4

    def test_a_key_that_comes_twice_in_a_group_is_stored_once(
        self, open_backend: OpenBackend
    ) -> None:
        """The second is the duplicate of the first; with another digest it is refused."""
        backend = open_backend()
        keyed = Batch([write("a"), write("b")], "tx-1", b"digest")
        outcomes = backend.commit(
            [keyed, Batch([write("c")]), keyed, keyed._replace(digest=b"other"), keyed], now=5
        )
        first, between, again, reused, last = outcomes
        assert not stored(first).duplicate
        assert stored(again) == stored(last) == stored(first)._replace(duplicate=True)
        assert isinstance(reused, UsageError)
        assert reused.code == "key_reused"
        assert stored(between).placed == (("c", 3, 0, 1),)
        assert backend.log_head() == 3

    def test_a_key_whose_first_batch_was_refused_goes_to_the_second(
        self, open_backend: OpenBackend
    ) -> None:
        """Only what is stored takes a key, within a group too."""
        backend = open_backend()
        wrong = Batch([write("a", 1, 7)], "tx-1", b"digest")
        right = Batch([write("a", 1, NO_STREAM)], "tx-1", b"digest")
        refused, first, again = backend.commit([wrong, right, right], now=5)
        assert isinstance(refused, Conflict)
        assert not stored(first).duplicate
        assert stored(again).duplicate

    def test_a_known_key_among_new_batches(self, open_backend: OpenBackend) -> None:
        """A group that holds one repeated append stores the others."""
        backend = open_backend()
        keyed = Batch([write("a")], "tx-1", b"digest")
        backend.commit([keyed], now=5)
        outcomes = backend.commit([Batch([write("a")]), keyed, Batch([write("new")])], now=9)
        assert [stored(o).duplicate for o in outcomes] == [False, True, False]
        assert stored(outcomes[1]).recorded_at == 5
        assert [row.position for row in _log(backend)] == [1, 2, 3]

    def test_a_large_group_is_stored_in_order(self, open_backend: OpenBackend) -> None:
        """Hundreds of batches of several writes each: positions stay dense."""
        backend = open_backend()
        batches = [Batch([write(f"s{n % 7}", 2), write(f"t{n}")]) for n in range(300)]
        outcomes = backend.commit(batches, now=5)
        assert [stored(o).placed[0].position for o in outcomes] == list(range(1, 900, 3))
        rows = _log(backend)
        assert [row.position for row in rows[:4]] == [1, 3, 4, 6]
        assert sum(row.event_count for row in rows) == backend.log_head() == 900

    def test_an_empty_group_is_nothing(self, open_backend: OpenBackend) -> None:
        """No batches, no outcomes, no change."""
        backend = open_backend()
        assert backend.commit([], now=5) == []
        assert backend.log_head() == 0

    def test_a_fork_needs_the_event_that_it_leaves(self, open_backend: OpenBackend) -> None:
        """The parent must be there and reach the version; a batch sees what its group stored."""
        backend = open_backend()
        backend.commit([Batch([write("a", 3)])], now=5)
        for fork in (Fork("a", 3), Fork("none", 0), Fork("none", -1)):
            (outcome,) = backend.commit([Batch([write("a~b", fork=fork)])], now=5)
            assert isinstance(outcome, NotFound), fork
        outcomes = backend.commit(
            [Batch([write("a")]), Batch([write("a~b", 2, NO_STREAM, fork=Fork("a", 3))])], now=5
        )
        assert stored(outcomes[1]).placed == (("a~b", 5, 4, 2),)
        info = backend.head("a~b")
        assert info is not None
        assert (info.version, info.fork) == (5, Fork("a", 3))


class Paging:
    """Rows, page by page."""

    def test_rows_are_those_that_overlap(self, open_backend: OpenBackend) -> None:
        """For any first and last, both ways, up to the page's size."""
        backend = open_backend()
        backend.commit([Batch([write("a", n)]) for n in (3, 1, 2)], now=5)
        spans = [(0, 2), (3, 3), (4, 5)]
        for first in range(8):
            for last in range(first, 8):
                for events_max in (1, 2, 9):
                    asked = {"first": first, "last": last, "events_max": events_max}
                    low, high = max(first, last - events_max + 1), min(last, first + events_max - 1)
                    forward = backend.rows("a", backward=False, **asked)
                    wanted = [v for v, end in spans if v <= high and end >= first]
                    assert versions(forward) == wanted, asked
                    backward = backend.rows("a", backward=True, **asked)
                    wanted = [v for v, end in spans if v <= last and end >= low]
                    assert versions(backward) == wanted, asked

    def test_a_row_is_what_was_written(self, open_backend: OpenBackend) -> None:
        """Body and metadata byte for byte, whatever JSON they hold."""
        backend = open_backend()
        body = '[["x",{"é":"\\u0000\\n","big":123456789012345678901234567890,"f":1e-7}]]'
        odd = Write("a", ANY, ("x",), '{"m":[1, 2]}', body)
        backend.commit([Batch([odd])], now=5)
        (page,) = backend.rows("a", first=0, last=0, backward=False, events_max=1)
        (row,) = page.appends()
        assert (as_text(row.body), as_text(row.metadata)) == (body, '{"m":[1, 2]}')
        assert (row.position, row.version, row.event_count, row.recorded_at) == (1, 0, 1, 5)

    def test_streams_come_in_pages_by_name(self, open_backend: OpenBackend) -> None:
        """After a name, up to the page's size, all or of one category."""
        backend = open_backend()
        backend.commit([Batch([write(f"{c}-{n}")]) for n in range(3) for c in "ab"], now=5)
        names = [i.stream for i in backend.streams(category=None, after="a-1", streams_max=3)]
        assert names == ["a-2", "b-0", "b-1"]
        names = [i.stream for i in backend.streams(category="b", after="a-9", streams_max=2)]
        assert names == ["b-0", "b-1"]
        assert backend.streams(category="b", after="b-2", streams_max=2) == []

    def test_the_log_comes_in_pages(self, open_backend: OpenBackend) -> None:
        """Rows that hold a position over ``after``, narrowed, up to the page's size."""
        backend = open_backend()
        backend.commit([Batch([write(f"{'ab'[n % 2]}-1", 2)]) for n in range(6)], now=5)
        page = backend.log(after=3, categories=None, types=None, rows_max=3)
        assert [r.position for r in page] == [3, 5, 7]
        page = backend.log(after=4, categories=["b"], types=["x"], rows_max=2)
        assert [r.position for r in page] == [7, 11]
        assert backend.log(after=0, categories=None, types=["y"], rows_max=9) == []

    def test_a_sound_log_passes_its_own_check(self, open_backend: OpenBackend) -> None:
        """Every line of the diagnosis is good."""
        backend = open_backend()
        backend.commit([Batch([write("a", 2)]), Batch([write("b")])], now=5)
        backend.commit([Batch([write("a~b", 2, fork=Fork("a", 0))])], now=6)
        assert isinstance(backend, Checkable)
        checks = list(backend.check())
        assert checks
        assert [check for check in checks if not check.good] == []


def _log(backend: Backend) -> list[Row]:
    return list(backend.log(after=0, categories=None, types=None, rows_max=10_000))
