"""A run: many processes at work on one log, harm done to all of it, judged at its end."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
from msgspec.structs import replace

import refold
from refold.engine.subscription import EVENTS_PER_PAGE
from refold.feeds.kafka import KafkaFeed, consume
from refold.projections import Projector
from tests.faults.shared import collecting
from tests.faults.shared.acts import WRITERS, Acts
from tests.faults.shared.cast import Cast
from tests.faults.shared.checker import Column, figures, judged
from tests.faults.shared.cutting import Wire
from tests.faults.shared.deeds import Lane, openings
from tests.faults.shared.evidence import Evidence, Topic
from tests.faults.shared.harm import Harm, schedule
from tests.faults.shared.journal import Journal, deeds_in
from tests.faults.shared.tallies import tally
from tests.faults.shared.working import QUIET, Settings, carry_out
from tests.support import postgres
from tests.support.kafka import Cluster
from tests.support.postgres import Server, servers

DURABLE = ("shared_buffers=64MB", "max_connections=250")
AGAIN, ONCE = "again", "once"
"""The topics: one of a feed that may send some events again, one of transactions."""
SCHEMA = "refold"
START_S = 60
Say = Callable[[str], None]


@dataclass
class Plan:
    """How large a run is, how long it lasts in seconds, and how often each harm is done."""

    seed: int
    seconds: float
    processes: int = 4
    writers: int = 16
    pace_s: float = 0.4
    every_s: dict[str, float] = field(
        default_factory=lambda: {
            "kill -9 of the server": 30,
            "kill -9 of a broker": 45,
            "kill -9 of writers": 10,
            "kill -9 of who follows": 10,
            "backends ended": 7,
            "connections cut": 5,
            "transactions held open": 20,
            "turns of all writers held": 15,
        }
    )


@dataclass
class Verdict:
    """What came of a run: the promises, what happened and what was done, by count."""

    columns: list[Column]
    figures: dict[str, int]
    done: Counter[str]

    @property
    def is_good(self) -> bool:
        """Whether nothing that counts is there."""
        return not any(column.found for column in self.columns)


def run(plan: Plan, brokers: Cluster, say: Say) -> Verdict:
    """A whole run, with brokers that are there, and a server of its own."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="refold-chaos-")))
        server = stack.enter_context(servers(DURABLE))
        wire = Wire(server.port)
        stack.callback(wire.close)
        scene = Scene(plan, folder, server, brokers, wire)
        scene.prepare()
        cast = stack.enter_context(acting(scene))
        done = scene.play(cast, say)
        say("the writers are done; the others catch up")
        scene.catch_up(cast, say)
        say("all is read and judged")
        evidence = scene.evidence(cast)
        return Verdict(judged(evidence), figures(evidence), done)


@contextmanager
def acting(scene: Scene) -> Iterator[Cast]:
    """Everybody at work; nobody is left behind."""
    cast = Cast(scene.folder)
    try:
        scene.fill(cast)
        yield cast
    finally:
        cast.stop()


@dataclass
class Scene:
    """Where it happens."""

    plan: Plan
    folder: Path
    server: Server
    brokers: Cluster
    wire: Wire

    def __post_init__(self) -> None:
        self.topics = {kind: f"{kind}-{time.monotonic_ns()}" for kind in (AGAIN, ONCE)}
        self.url = postgres.url(self.server.port)
        self.view = self.url.replace("/postgres?", "/view?")
        self.sql: dict[str, Any] = {
            **{"host": "127.0.0.1", "port": self.server.port, "user": "postgres"},
            **{"password": postgres.PASSWORD, "dbname": "postgres"},
        }
        self.settings = Settings(
            url=self.url,
            view=self.view,
            sql=self.sql,
            schema=SCHEMA,
            folder=str(self.folder),
            name="",
            life=0,
            seed=self.plan.seed,
            writers=self.plan.writers,
            pace_s=self.plan.pace_s,
            shift_us=until_month_ends_us() - round(self.plan.seconds / 3 * 1e6),
            bootstrap=self.brokers.bootstrap,
        )

    def prepare(self) -> None:
        """The database beside the log, the topics, the money."""
        with postgres.connect(self.server.port) as admin:
            admin.execute("CREATE DATABASE view")
        for topic in self.topics.values():
            self.brokers.topic(topic)
        lane = Lane("opening.0.0", Journal(self.folder / "journal.opening.0"), Random(0))
        with refold.open(self.url, clock=self.settings.clock, inline=[tally("inline")]) as store:
            Projector(store, [tally("worked")]).catch_up()
            for deed in openings(lane):
                carry_out(store, deed)

    def fill(self, cast: Cast) -> None:
        """Start them all: half of the writers are threads, half come over the wire."""
        over = self.url.replace(f":{self.server.port}/", f":{self.wire.port}/")
        for number in range(self.plan.processes):
            role, url = WRITERS[number % 2], over if number % 4 >= 2 else self.url
            self._add(cast, role, f"writers-{number}", url=url, inline=number == 0)
        self._add(cast, "readers", "readers")
        for number in range(2):
            self._add(cast, "projecting", f"projecting-{number}", url=(self.url, over)[number])
            self._add(cast, "consuming", f"consuming-{number}", topic=self.topics[AGAIN])
        for kind, topic in self.topics.items():
            given = {"topic": topic, "exactly_once": kind == ONCE}
            self._add(cast, "feeding", f"feeding-{kind}", **given)

    def _add(self, cast: Cast, role: str, name: str, **given: Any) -> None:
        cast.add(role, replace(self.settings, name=name, **given))

    def play(self, cast: Cast, say: Say) -> Counter[str]:
        """Let them work while harm is done; what was done."""
        acts = Acts(self.server, self.brokers, self.wire, cast)
        self._await_work()

        def tell(error: BaseException) -> None:
            cast.complaints.append(f"unexpected {error!r}")

        harm = Harm(
            schedule(self.plan.seed, self.plan.seconds, self.plan.every_s), acts.all(), tell
        )
        began = time.monotonic()
        try:
            while (spent := time.monotonic() - began) < self.plan.seconds:
                harm.wait(min(10, self.plan.seconds - spent))
                cast.look()
                say(f"{time.monotonic() - began:.0f} s: {self._head():,} events, {dict(harm.done)}")
        finally:
            acts.over.set()
            harm.end()
        say("no more harm is done")
        cast.end(*WRITERS)
        return harm.done

    def _await_work(self) -> None:
        """Until each process of writers has told of something."""
        until = time.monotonic() + START_S
        own = [self.folder / f"journal.writers-{n}.0" for n in range(self.plan.processes)]
        while not all(path.exists() and b'["told"' in path.read_bytes() for path in own):
            assert time.monotonic() < until, "they do not begin"
            time.sleep(0.1)

    def _head(self) -> int:
        """How many events there are, for who looks on."""
        try:
            with psycopg.connect(**self.sql, connect_timeout=2) as session:
                found = session.execute("SELECT max(last) FROM refold.commits").fetchone()
        except psycopg.Error:
            return 0
        return int(found[0]) if found else 0

    def catch_up(self, cast: Cast, say: Say) -> None:
        """Bring all that follows to the end of the log."""
        self.brokers.start_all()
        cast.end("feeding", "consuming", "projecting", "readers")
        say("they have ended; what is left to do for them is done")
        how: dict[str, Any] = {"bootstrap": self.brokers.bootstrap, "settings": QUIET}
        with refold.open(self.url, clock=self.settings.clock, inline=[tally("inline")]) as store:
            Projector(store, [tally("worked")]).catch_up()
            for kind, topic in self.topics.items():
                KafkaFeed(store, topic, exactly_once=kind == ONCE, **how).catch_up()
            with refold.open(self.view) as rows:
                given: dict[str, Any] = {"rows": rows, "once": True, "group": "last", **how}
                consume(self.topics[AGAIN], tally("consumed"), **given)
            cast.complaints += [str(check) for check in store.check() if not check.good]

    def evidence(self, cast: Cast) -> Evidence:
        """All that is left."""
        read = collecting.messages_of
        again, once = (read(self.brokers.bootstrap, topic) for topic in self.topics.values())
        beside = {**self.sql, "dbname": "view"}
        return Evidence(
            deeds=deeds_in(sorted(self.folder.glob("journal.*"))),
            log=collecting.log_of(self.sql, SCHEMA),
            readers=collecting.runs_in(self.folder),
            tallies={
                "inline": collecting.rows_of(self.sql, SCHEMA, "inline"),
                "worked": collecting.rows_of(self.sql, SCHEMA, "worked"),
                "consumed": collecting.rows_of(beside, SCHEMA, "consumed"),
            },
            topics={AGAIN: Topic(again, EVENTS_PER_PAGE), ONCE: Topic(once, 0)},
            complaints=cast.unexpected(),
        )


def until_month_ends_us() -> int:
    """How long this month still lasts."""
    now = datetime.now(UTC)
    year, month = divmod(now.year * 12 + now.month, 12)
    ends = datetime(year, month + 1, 1, tzinfo=UTC)
    return round((ends - now).total_seconds() * 1e6)
