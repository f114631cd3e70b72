-- Packed appends as the table log has those that are not, and both. For connections of refold, which
-- know the function: it gives a segment as a JSON array of its appends.
CREATE TEMP VIEW IF NOT EXISTS refold_packed AS
SELECT
    part.value ->> 0 AS position, segments.stream, part.value ->> 1 AS version,
    part.value ->> 2 AS count, part.value ->> 3 AS recorded_at,
    (
        SELECT sum(DISTINCT 1 << min(types.id, 62))
        FROM json_each(part.value ->> 7) AS event JOIN main.types ON types.tag = event.value ->> 0
    ) AS types,
    keys.key, keys.digest, part.value ->> 4 AS metadata, part.value ->> 5 AS occurred_from,
    part.value ->> 6 AS occurred_to, part.value ->> 7 AS body, part.value ->> 8 AS clock_at
FROM main.segments
JOIN main.streams ON streams.id = segments.stream
JOIN json_each(refold_unpacked(
    streams.name, segments.position, segments.version, segments.count, segments.recorded_at,
    segments.occurred_from, segments.occurred_to, segments.frame, segments.dictionary,
    segments.body_bytes
)) AS part
LEFT JOIN main.keys ON (keys.stream, keys.position, keys.version, keys.count, keys.recorded_at)
    = (segments.stream, part.value ->> 0, part.value ->> 1, part.value ->> 2, part.value ->> 3);

CREATE TEMP VIEW IF NOT EXISTS refold_appends AS
SELECT
    position, stream, version, count, recorded_at, types, key, digest, metadata, occurred_from,
    occurred_to, body, clock_at
FROM main.log
UNION ALL
SELECT * FROM refold_packed;

-- What the table tags should hold.
CREATE TEMP VIEW IF NOT EXISTS refold_tags AS
SELECT said.value AS tag, position + count - 1 AS last_position, stream, version, count, types
FROM refold_appends JOIN main.streams ON streams.id = stream AND category NOT LIKE '%~'
JOIN json_each(metadata, '$.tags') AS said ON said.type = 'text'
WHERE instr(metadata, '"tags"') GROUP BY position, said.value;
