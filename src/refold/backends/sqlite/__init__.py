"""One embedded SQLite file, through apsw (which brings its own SQLite)."""

from refold.backends.sqlite.backend import SqliteBackend

__all__ = ["SqliteBackend"]
