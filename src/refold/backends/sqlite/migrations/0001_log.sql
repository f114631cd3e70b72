-- One row an append: 1 or more events of one stream, side by side. docs/format.md describes it.
CREATE TABLE streams (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    category TEXT NOT NULL,
    parent TEXT,          -- a branch: the stream that it shares versions 0..fork_version with
    fork_version INTEGER
) STRICT;
CREATE INDEX streams_category ON streams (category, name);

CREATE TABLE types (
    id INTEGER PRIMARY KEY, -- its bit in log.types; those over 61 share bit 62
    tag TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE log (
    position INTEGER PRIMARY KEY, -- of the first event
    stream INTEGER NOT NULL REFERENCES streams (id),
    version INTEGER NOT NULL,     -- of the first event
    count INTEGER NOT NULL,
    recorded_at INTEGER NOT NULL, -- microseconds UTC
    types INTEGER NOT NULL,       -- a set of types, one bit each
    key TEXT,
    digest BLOB,                  -- of the whole append, where it has a key
    metadata TEXT,                -- a JSON object shared by the events
    occurred_from INTEGER,        -- the earliest and latest occurred_at of its events,
    occurred_to INTEGER,          -- NULL where all are recorded_at
    body TEXT NOT NULL            -- a JSON array of [tag, payload, occurred_at, metadata]
) STRICT;
CREATE UNIQUE INDEX log_version ON log (stream, version);
CREATE UNIQUE INDEX log_key ON log (key) WHERE key IS NOT NULL;

CREATE VIEW events AS
SELECT
    log.position + event.key AS position,
    streams.name AS stream,
    log.version + event.key AS version,
    streams.name || '@' || (log.version + event.key) AS id,
    streams.category AS category,
    event.value ->> 0 AS type,
    -- Written so that SQLite 3.38 can run it: %F and %T came with 3.44.
    strftime('%Y-%m-%dT%H:%M:%S', (ifnull(event.value ->> 2, log.recorded_at)
        - (ifnull(event.value ->> 2, log.recorded_at) % 1000000 + 1000000) % 1000000
    ) / 1000000, 'unixepoch')
        || printf(
            '.%06dZ', (ifnull(event.value ->> 2, log.recorded_at) % 1000000 + 1000000) % 1000000
        ) AS occurred_at,
    strftime('%Y-%m-%dT%H:%M:%S', log.recorded_at / 1000000, 'unixepoch')
        || printf('.%06dZ', log.recorded_at % 1000000) AS recorded_at,
    event.value -> 1 AS data,
    CASE
        WHEN log.metadata IS NULL THEN ifnull(nullif(event.value -> 3, 'null'), '{}')
        WHEN ifnull(event.value -> 3, 'null') = 'null' THEN log.metadata
        ELSE ( -- the event's own on top; json_patch would merge what is inside, and drop nulls
            SELECT json_group_object(key, json(value)) FROM (
                SELECT key, log.metadata -> fullkey AS value FROM json_each(log.metadata)
                WHERE key NOT IN (SELECT key FROM json_each(event.value -> 3))
                UNION ALL
                SELECT key, event.value -> 3 -> fullkey FROM json_each(event.value -> 3)
            )
        )
    END AS metadata,
    log.key AS key
FROM log
JOIN streams ON streams.id = log.stream
JOIN json_each(log.body) AS event;
