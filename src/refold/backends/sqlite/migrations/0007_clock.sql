-- What the clock said where it stood behind recorded_at: when events occurred that do not say it.
ALTER TABLE log ADD COLUMN clock_at INTEGER;

DROP VIEW events_unpacked;
CREATE VIEW events_unpacked AS
SELECT
    log.position + event.key AS position,
    streams.name AS stream,
    log.version + event.key AS version,
    streams.name || '@' || (log.version + event.key) AS id,
    streams.category AS category,
    event.value ->> 0 AS type,
    -- Written so that SQLite 3.38 can run it: %F and %T came with 3.44.
    strftime('%Y-%m-%dT%H:%M:%S', (coalesce(event.value ->> 2, log.clock_at, log.recorded_at)
        - (coalesce(event.value ->> 2, log.clock_at, log.recorded_at) % 1000000 + 1000000) % 1000000
    ) / 1000000, 'unixepoch')
        || printf('.%06dZ', (
            coalesce(event.value ->> 2, log.clock_at, log.recorded_at) % 1000000 + 1000000
        ) % 1000000) AS occurred_at,
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

DROP VIEW appending;
CREATE VIEW appending AS
SELECT
    log.*,
    NULL AS new_kinds,        -- a JSON array of [id, tag]
    NULL AS new_stream,       -- name, category, parent and fork_version of a stream that begins
    NULL AS new_category,
    NULL AS new_parent,
    NULL AS new_fork_version
FROM log;
CREATE TRIGGER appending_insert INSTEAD OF INSERT ON appending
BEGIN
    INSERT INTO types SELECT value ->> 0, value ->> 1 FROM json_each(NEW.new_kinds);
    INSERT INTO streams (id, name, category, parent, fork_version)
    SELECT NEW.stream, NEW.new_stream, NEW.new_category, NEW.new_parent, NEW.new_fork_version
    WHERE NEW.new_stream IS NOT NULL;
    INSERT INTO log VALUES (
        NEW.position, NEW.stream, NEW.version, NEW.count, NEW.recorded_at, NEW.types, NEW.key,
        NEW.digest, NEW.metadata, NEW.occurred_from, NEW.occurred_to, NEW.body, NEW.clock_at
    );
END;
