-- A cache of folded states: may be emptied at any time.
CREATE TABLE snapshots (
    id INTEGER PRIMARY KEY,
    stream INTEGER NOT NULL REFERENCES streams (id),
    fold TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    version INTEGER NOT NULL,
    position INTEGER NOT NULL,
    occurred_to INTEGER NOT NULL,
    in_order INTEGER NOT NULL,
    state BLOB NOT NULL,
    digest BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX snapshots_version ON snapshots (stream, fold, version);
