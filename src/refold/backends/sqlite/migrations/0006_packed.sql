-- All events or an error: the view events does not leave out in silence what is packed.
DROP VIEW events;
CREATE VIEW events_unpacked AS
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

CREATE VIEW events_packed AS -- stretches of a stream; events of others may stand between
SELECT
    streams.name AS stream,
    streams.category AS category,
    segments.version AS first_version,
    segments.version + segments.count - 1 AS last_version,
    segments.position AS first_position,
    segments.last_position AS last_position,
    segments.count AS events
FROM segments
JOIN streams ON streams.id = segments.stream;

CREATE VIEW events AS
SELECT events_unpacked.*
FROM (
    SELECT ( -- a path that is none: SQLite says it in its error
        SELECT json_extract('{}', printf(
            '%s@%d and others are packed, and SQLite alone cannot unpack them: ask through refold, '
                || 'or events_unpacked for the others; events_packed says which those are',
            name, version
        ))
        FROM segments JOIN streams ON streams.id = segments.stream LIMIT 1
    ) AS packed
) AS whole
CROSS JOIN events_unpacked
WHERE whole.packed IS NULL;

CREATE INDEX keys_place ON keys (stream, version);
