"""Apache Kafka in KRaft mode, three brokers of the tests' own, run by a user who may do no more.

`make system` puts what they are made of into ``.cache/kafka``. A broker ends with the process that
started it, however that ends: its shell waits for a pipe to be closed.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.cimpl import NewPartitions, NewTopic

from tests.house.tree import ROOT
from tests.support.postgres import free_port

BROKERS: Final = 3
START_S: Final = 120
_JARS: Final = ROOT / ".cache" / "kafka"
_CLUSTER_ID: Final = "cmVmb2xkLWthZmthLXRlcw"
_JAVA: Final = (
    *("java", "-Xmx384m", "-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
    *("-Dorg.apache.logging.log4j.level=WARN", "-cp", "jars/*"),
)
# The pipe is closed when nobody is left to close it.
_UNTIL_CLOSED: Final = (
    'exec 3<&0; "$@" 3<&- </dev/null & broker=$!; (read -r _ <&3; kill -9 $broker) & wait $broker'
)
_SETTINGS: Final = """
process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
listeners=BROKER://127.0.0.1:{port},CONTROLLER://127.0.0.1:{control}
advertised.listeners=BROKER://127.0.0.1:{port}
listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=BROKER
controller.listener.names=CONTROLLER
log.dirs={node}
auto.create.topics.enable=false
default.replication.factor=3
min.insync.replicas=2
offsets.topic.num.partitions=1
offsets.topic.replication.factor=3
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
replica.lag.time.max.ms=5000
controller.quorum.election.timeout.ms=1000
controller.quorum.fetch.timeout.ms=2000
num.network.threads=2
num.io.threads=2
log.cleaner.enable=false
"""


class Cluster:
    """Three brokers on 127.0.0.1; ``bootstrap`` is how they are found."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._who = _as_whom()
        self.ports = [free_port() for _ in range(BROKERS)]
        self.bootstrap = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        self._brokers: dict[int, subprocess.Popen[bytes]] = {}

    def make(self) -> None:
        """Lay out the folders; starts nothing."""
        assert (_JARS / "complete").exists(), "no Kafka: run `make system`"
        shutil.copytree(_JARS, self._folder / "jars")
        controls = [free_port() for _ in range(BROKERS)]
        voters = ",".join(f"{node}@127.0.0.1:{at}" for node, at in enumerate(controls, 1))
        for node, (port, control) in enumerate(zip(self.ports, controls, strict=True), 1):
            text = _SETTINGS.format(node=node, port=port, control=control, voters=voters)
            (self._folder / f"{node}.properties").write_text(text)
        for path in (self._folder, *self._folder.iterdir()):
            os.chown(path, self._who.get("user", -1), self._who.get("group", -1))
        formatting = ["kafka.tools.StorageTool", "format", "-t", _CLUSTER_ID, "-c"]
        made = [
            subprocess.Popen(
                [*_JAVA, *formatting, f"{node}.properties"],
                **self._how(),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            for node in range(1, BROKERS + 1)
        ]
        said = [process.communicate(timeout=START_S)[0].decode() for process in made]
        assert all(process.returncode == 0 for process in made), said

    def start(self, node: int) -> None:
        """Start a broker, from 1; does not wait for it."""
        command = ["sh", "-c", _UNTIL_CLOSED, "sh", *_JAVA, "kafka.Kafka", f"{node}.properties"]
        with (self._folder / f"{node}.log").open("ab") as log:
            self._brokers[node] = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, **self._how()
            )

    def kill(self, node: int) -> None:
        """kill -9."""
        broker = self._brokers.pop(node)
        with suppress(ProcessLookupError):
            os.killpg(broker.pid, signal.SIGKILL)
        broker.wait()
        assert broker.stdin is not None
        broker.stdin.close()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all of them, such as to stand still."""
        for broker in self._brokers.values():
            os.killpg(broker.pid, number)

    def start_all(self) -> None:
        """Start those that do not run, and wait until every broker is known to the others."""
        for node in range(1, BROKERS + 1):
            if node not in self._brokers:
                self.start(node)
        until = time.monotonic() + START_S
        while not self._is_whole():
            dead = [node for node, one in self._brokers.items() if one.poll() is not None]
            is_over = dead or time.monotonic() > until
            assert not is_over, "\n".join(log.read_text() for log in self._folder.glob("*.log"))
            time.sleep(0.1)

    def stop(self) -> None:
        """End them all."""
        for node in list(self._brokers):
            self.kill(node)

    def admin(self) -> AdminClient:
        """A client for what is done to the cluster."""
        return AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})

    def topic(self, name: str, *, partitions: int = 3, brokers: int = BROKERS) -> str:
        """Make a topic, each partition on so many brokers; its name."""
        admin = self.admin()  # It lives for as long as it is asked.
        admin.create_topics([NewTopic(name, partitions, brokers)])[name].result(START_S)
        self.leaders(name, partitions)
        return name

    def add_partitions(self, topic: str, count: int) -> None:
        """Let a topic have so many partitions."""
        admin = self.admin()
        admin.create_partitions([NewPartitions(topic, count)])[topic].result(START_S)
        self.leaders(topic, count)

    def configure(self, topic: str, name: str, value: str) -> None:
        """Set one setting of a topic."""
        entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        admin = self.admin()
        where = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
        admin.incremental_alter_configs([where])[where].result(START_S)

    def drop(self, topic: str) -> None:
        """Delete a topic, and wait until nobody knows it."""
        admin = self.admin()
        admin.delete_topics([topic])[topic].result(START_S)
        while topic in admin.list_topics(timeout=START_S).topics:
            time.sleep(0.1)

    def leaders(self, topic: str, partitions: int) -> list[int]:
        """The broker that leads each partition, when each has one."""
        until, admin = time.monotonic() + START_S, self.admin()
        while True:
            found = admin.list_topics(timeout=START_S).topics.get(topic)
            leaders = [one.leader for one in found.partitions.values()] if found else []
            if len(leaders) == partitions and min(leaders) > 0:
                return leaders
            assert time.monotonic() < until, (topic, leaders)
            time.sleep(0.1)

    def _is_whole(self) -> bool:
        """Whether every broker is known, and has every partition as its leader has it.

        One that was killed is known for some seconds more.
        """
        try:
            for port in self.ports:
                socket.create_connection(("127.0.0.1", port), timeout=2).close()
            known = self.admin().list_topics(timeout=2)
        except (KafkaException, OSError):  # Nobody answers yet.
            return False
        partitions = [one for topic in known.topics.values() for one in topic.partitions.values()]
        is_in_sync = all(len(one.isrs) == len(one.replicas) for one in partitions)
        return is_in_sync and len(known.brokers) == BROKERS

    def _how(self) -> dict[str, Any]:
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TZ": "UTC"}
        return {"cwd": self._folder, "env": environment, "start_new_session": True, **self._who}


def _as_whom() -> dict[str, Any]:
    """Who runs them: not root, who becomes nobody."""
    if os.getuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


@contextmanager
def cluster() -> Iterator[Cluster]:
    """Three brokers that run, and end with the block."""
    with TemporaryDirectory(prefix="refold-kafka-") as name:
        made = Cluster(Path(name))
        made.make()
        try:
            made.start_all()
            yield made
        finally:
            made.stop()
