-- Packed appends: events of one stream, side by side, as one zstd frame. docs/format.md.
CREATE TABLE dictionaries (
    id INTEGER PRIMARY KEY,
    category TEXT NOT NULL UNIQUE,
    bytes BLOB NOT NULL
) STRICT;

CREATE TABLE segments (
    position INTEGER PRIMARY KEY, -- of the first event; others of the log may stand between
    last_position INTEGER NOT NULL,
    stream INTEGER NOT NULL REFERENCES streams (id),
    version INTEGER NOT NULL,
    count INTEGER NOT NULL,
    recorded_at INTEGER NOT NULL, -- of the first append
    occurred_from INTEGER NOT NULL,
    occurred_to INTEGER NOT NULL,
    types INTEGER NOT NULL,
    dictionary INTEGER REFERENCES dictionaries (id),
    body_bytes INTEGER NOT NULL,  -- where the events end and the parts begin, unpacked
    frame BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX segments_version ON segments (stream, version);
CREATE INDEX segments_last ON segments (last_position);

ALTER TABLE streams ADD COLUMN packed_version INTEGER; -- of its last packed event
ALTER TABLE streams ADD COLUMN packed_at INTEGER;      -- recorded_at of its last packed append

CREATE TABLE keys ( -- of packed appends: a key names one append for ever
    key TEXT PRIMARY KEY,
    digest BLOB NOT NULL,
    stream INTEGER NOT NULL,
    position INTEGER NOT NULL,
    version INTEGER NOT NULL,
    count INTEGER NOT NULL,
    recorded_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TRIGGER log_key_packed BEFORE INSERT ON log WHEN NEW.key IS NOT NULL
BEGIN
    SELECT raise(ABORT, 'log.key is packed') FROM keys WHERE key = NEW.key;
END;
