"""`refold feed`: the events to Kafka, and how far that has come."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import refold
from refold.feeds.kafka import KafkaFeed
from tests.cli.running import Refold
from tests.feeds.kafka.topics import by_stream, fill, heads, held
from tests.support.kafka import Cluster

kafka = pytest.mark.xdist_group("kafka")


@kafka
def test_what_there_is_is_sent_and_the_lag_is_shown(
    run: Refold, tmp_path: Path, brokers: Cluster
) -> None:
    """Once, and again what came since; for people, for programs, and as metrics."""
    topic, db = brokers.topic("cli-fed"), tmp_path / "log.db"
    where = ["--db", str(db)]
    sending = ["feed", "kafka", *where, "--bootstrap", brokers.bootstrap, "--topic", topic]
    (tmp_path / "kafka.properties").write_text("# ours\nclient.id = tested\n\nlinger.ms=1\n")
    with refold.open(db) as store:
        fill(store, 20)
        assert run("feed", "status", *where).out == ""
        done = run(*sending, "--once", "--settings", str(tmp_path / "kafka.properties"))
        assert (done.code, done.out) == (0, "cli-fed: 20 events sent\n"), done.err
        fill(store, 5, start=20)
        status = run("feed", "status", *where, "--json").lines
        assert [(one["position"], one["lag_events"]) for one in status] == [(20, 5)]
        assert status[0]["lag_seconds"] >= 0
        assert "sent up to position 20: 5 events and" in run("feed", "status", *where).out
        sent = run(*sending, "--once", "--json").lines
        assert sent == [{"feed": topic, "topic": topic, "sent": 5}]
        metrics = run("feed", "status", *where, "--metrics").out.splitlines()
        assert 'refold_feed_position{feed="cli-fed"} 25' in metrics
        assert 'refold_feed_lag_events{feed="cli-fed"} 0' in metrics
        assert metrics[-1] == "# EOF"
        assert by_stream(held(brokers.bootstrap, topic)) == heads(store)


@kafka
def test_opentelemetry_sees_the_lag(brokers: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is installed: a gauge with the name of the feed, while the store is open."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    topic, reader = brokers.topic("observed"), InMemoryMetricReader()
    # Set for good it could be but once in a process.
    monkeypatch.setattr("opentelemetry.metrics.get_meter", MeterProvider([reader]).get_meter)
    with refold.open("memory:") as store:
        fill(store, 7)
        feed = KafkaFeed(store, topic, bootstrap=brokers.bootstrap)
        feed.catch_up()
        fill(store, 3)
        feed.close()
        feed.run()
        found: Any = reader.get_metrics_data()
        assert [
            (metric.name, point.value, point.attributes)
            for resource in found.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            for point in metric.data.data_points
        ] == [("refold.feed.lag", 3, {"feed": topic})]
    assert reader.get_metrics_data() is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--db", "log.jsonl"], "a journal cannot keep how far it was sent"),
        (["--settings", "acks.properties"], "the setting acks is not to be chosen"),
        (["--settings", "binary.properties"], "binary.properties is not UTF-8 text"),
        (["--settings", "none.properties"], "none.properties cannot be read: No such file"),
        (["--settings", "wrong.properties"], 'No such configuration property: "no.such"'),
    ],
)
def test_what_cannot_be_is_refused(
    run: Refold, tmp_path: Path, given: list[str], said: str
) -> None:
    """Before any broker is asked."""
    (tmp_path / "acks.properties").write_text("acks=1\n")
    (tmp_path / "binary.properties").write_bytes(b"a=\xff")
    (tmp_path / "wrong.properties").write_text("no.such=1\n")
    refold.open(tmp_path / "refold.db").close()
    refold.open(tmp_path / "log.jsonl").close()
    done = run("feed", "kafka", "--bootstrap", "127.0.0.1:1", "--topic", "t", "--once", *given)
    assert done.code == 2
    assert said in done.err


def test_a_file_that_was_found_does_not_say_where_events_go(run: Refold, tmp_path: Path) -> None:
    """It may have come with somebody else's files: brokers and their settings are the user's."""
    refold.open(tmp_path / "refold.db").close()
    (tmp_path / "refold.toml").write_text('[feed]\nbootstrap = "evil:1"\nsettings = "x"\n')
    done = run("feed", "kafka", "--topic", "t", "--once")
    assert done.code == 2
    assert "Missing option '--bootstrap'" in done.err
