"""`refold feed`."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import click

from refold.cli import output
from refold.cli.jsontext import file_text
from refold.cli.options import command, group, no_effect, opened, option
from refold.cli.private import open_store
from refold.cli.projections import closed_by_terminate
from refold.cli.text import clean, counted
from refold.errors import UsageError


@group("feed")
def feed_command() -> None:
    """Send the events to Kafka, and show how far that has come.

    refold feed kafka --bootstrap localhost:9092 --topic agents
    refold feed status
    """


subcommand = partial(command, group=feed_command)
MODES: Final = click.Choice(["binary", "structured"])


@subcommand("kafka")
@option("--bootstrap", required=True, metavar="HOST:PORT", help="Brokers, with commas between.")
@option("--topic", required=True, metavar="NAME", help="Where the events go.")
@option("--name", metavar="NAME", help="Of the feed, for ever.  [default: the topic's]")
@option("--source", metavar="URI", help="Whose events they are.  [default: the store's own]")
@option("--mode", type=MODES, default="binary", help="That of CloudEvents.")
@option("--category", "categories", multiple=True, metavar="NAME", help="Only these categories.")
@option("--type", "types", multiple=True, metavar="TYPE", help="Only events of these types.")
@option("--exactly-once", is_flag=True, help="In transactions of Kafka.")
@option("--require-replication", is_flag=True, help="Refuse a topic that one broker could lose.")
@option("--settings", "file", metavar="FILE", help="Of librdkafka: NAME=VALUE lines.")
@option("--once", is_flag=True, help="Send what there is and end.")
def kafka(url: str, once: bool, file: str | None, **how: Any) -> None:
    """Send every event to a topic of Kafka, then those that come, until it is interrupted.

    In order in each stream, as CloudEvents. It may be killed at any moment: it then sends some
    events again, and leaves none out; with --exactly-once, who reads what is committed sees each
    once. --category and --type may be given several times.

        refold feed kafka --bootstrap localhost:9092 --topic agents
        refold feed kafka --bootstrap kafka-1:9092 --topic calls --category call --exactly-once
    """
    from refold.feeds.kafka import KafkaFeed

    if url.endswith(".jsonl"):
        raise UsageError(f"--db {url}: a journal cannot keep how far it was sent: take a database")
    with open_store(url, mode="write") as store:
        feed = KafkaFeed(store, settings=_read(file), **how)
        with closed_by_terminate(feed.close):
            if not once:
                output.note(f"sending to {feed.topic}; Ctrl-C ends")
                return feed.run()
            sent = feed.catch_up()
        shown = {"feed": feed.name, "topic": feed.topic, "sent": sent}
        return output.show(shown, clean(f"{feed.name}: {counted(sent, 'event')} sent"))


@subcommand("status")
@option("--metrics", "as_metrics", is_flag=True, help="As OpenMetrics text.")
def status(url: str, as_metrics: bool) -> None:
    """Show how each feed stands: the position it has sent up to, and its lag.

    refold feed status
    refold feed status --metrics > refold.prom
    """
    from refold.feeds.kafka.standing import lags, metrics

    with opened(url) as store:
        found = lags(store)
    if as_metrics:
        no_effect("beside --metrics", "as_json")
        return output.line("\n".join(metrics(found)))
    for one in found:
        said = "{feed}  to {topic}, sent up to position {position:,}: {lag_events:,} events and "
        output.show(one, clean(f"{said}{{lag_seconds:,.1f}} s behind".format(**one)))
    return None


def _read(file: str | None) -> dict[str, str]:
    """The settings of a file, as those of Kafka's own tools: a name and a value a line."""
    lines = [line.strip() for line in file_text(file).splitlines()] if file else []
    pairs = [line.partition("=") for line in lines if line and not line.startswith("#")]
    return {name.strip(): value.strip() for name, _, value in pairs}
