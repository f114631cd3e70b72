"""refold on PostgreSQL, as its users call it."""

from __future__ import annotations

from pathlib import Path

import refold
from bench.database import OnServer
from bench.measuring import timed
from bench.subject import serve
from bench.subjects.refold import Refold

_STREAMS = 100


class RefoldPostgres(OnServer, Refold):
    """The same calls; a store is a schema in a database of its own."""

    def address(self, path: Path) -> str:
        return self.url(path)

    def bulk(self, *, events: int, size: int) -> dict[str, float]:
        """Events a second of an import in appends of so many, typed and checked."""
        path = self._path("bulk")
        appends = (
            refold.Append(
                f"session-{n % _STREAMS}",
                self.typed[(start := n * size % (len(self.typed) - size)) : start + size],
                metadata=self.events[start].metadata,
            )
            for n in range(events // size)
        )
        with refold.open(self.address(path), registry=self.registry) as store:
            store.append("first-1", self.typed[:1])  # The table of COPY is there as well.
            before_s = self.spent_s()
            took_s, stored = timed(lambda: sum(1 for _ in store.append_many(appends)), seconds=0)
            spent_s = self.spent_s() - before_s
        self._remove(path)
        assert stored == events // size
        return {"value": events / took_s, "processor_us": spent_s / events * 1e6}

    def copy_in(self, *, events: int, size: int) -> dict[str, float]:
        """Events a second of copying a file into PostgreSQL, comparison at the end included."""
        file, path = self.folder / "source.db", self._path("copied")
        if not file.exists():
            with refold.open(file, registry=self.registry, synchronous="NORMAL") as made:
                for n in range(events // size):
                    start = n * size % (len(self.typed) - size)
                    events_of = self.typed[start : start + size]
                    made.append(f"session-{n % _STREAMS}", events_of, metadata={"n": n})
        with (
            refold.open(file, mode="read") as source,
            refold.open(self.address(path), synchronous="NORMAL") as into,
        ):
            before_s = self.spent_s()
            took_s, count = timed(lambda: source.copy_into(into), seconds=0)
            spent_s = self.spent_s() - before_s
        self._remove(path)
        assert count == events
        return {"value": events / took_s, "processor_us": spent_s / events * 1e6}


if __name__ == "__main__":
    serve(RefoldPostgres)
