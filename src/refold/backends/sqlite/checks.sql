-- What `refold doctor` asks of the rows of a file. Each query gives a row where something is wrong.
-- The line over it says the name of the check, and what is said before the row.

-- types: not numbered from 0 without gaps, in the table types:
SELECT tag FROM types WHERE id < 0 OR id >= (SELECT count(*) FROM types);

-- positions without gaps: it does not begin where the append before it ends, the one at position
SELECT position FROM (
    SELECT position, lag(position + count, 1, 1) OVER (ORDER BY position) AS due FROM refold_appends
) WHERE position != due;

-- positions without gaps: it has other events than it counts, the append at position
SELECT position FROM log WHERE count != iif(json_valid(body), json_array_length(body), count);

-- versions without gaps: a gap before
SELECT name || '@' || version FROM (
    SELECT stream, version, lag(version + count) OVER (PARTITION BY stream ORDER BY version) AS due
    FROM (
        SELECT stream, version, count FROM log UNION ALL
        SELECT stream, version, count FROM segments
    )
) JOIN streams ON streams.id = stream
WHERE version != ifnull(due, ifnull(fork_version + 1, 0));

-- keys: it is in the log and among those that are packed, the key of position
SELECT log.position FROM keys CROSS JOIN log USING (key);

-- keys: no packed append is where it says, the packed key
SELECT key FROM keys EXCEPT SELECT key FROM refold_packed;

-- keys: the part before it is missing, of the append under the key
SELECT key FROM (SELECT key FROM log UNION ALL SELECT key FROM keys) AS part
WHERE instr(key, char(31)) AND NOT EXISTS (
    SELECT 1 FROM (SELECT key FROM log UNION ALL SELECT key FROM keys) AS before
    WHERE before.key = substr(part.key, 1, instr(part.key, char(31)) - 1)
        || ifnull(char(31) || nullif(substr(part.key, instr(part.key, char(31)) + 1) - 1, 0), '')
);

-- occurred: its earliest time is without its latest, or after it, at position
SELECT position FROM log WHERE (occurred_from IS NULL) != (occurred_to IS NULL)
    OR occurred_from > occurred_to;

-- streams: no stream holds position
SELECT position FROM log WHERE stream NOT IN (SELECT id FROM streams) UNION ALL
SELECT position FROM segments WHERE stream NOT IN (SELECT id FROM streams);

-- streams: no event is in
SELECT name FROM streams WHERE NOT EXISTS (SELECT 1 FROM log WHERE stream = streams.id)
    AND NOT EXISTS (SELECT 1 FROM segments WHERE stream = streams.id);

-- streams: what is packed is not what the stream says, of
SELECT name FROM streams WHERE (packed_version IS NULL) != (packed_at IS NULL)
    OR packed_version IS NOT (
        SELECT version + count - 1 FROM segments WHERE stream = streams.id
        ORDER BY version DESC LIMIT 1
    );

-- streams: what it branches from is not there, of
SELECT name FROM streams AS branch
WHERE (parent IS NULL) != (fork_version IS NULL) OR max(fork_version, 0) > ifnull((
    SELECT ifnull((
        SELECT version + count - 1 FROM log WHERE stream = streams.id ORDER BY version DESC LIMIT 1
    ), packed_version) FROM streams WHERE name = branch.parent
), -1) OR fork_version < -1;

-- streams: its category is not that of its name, of
SELECT name FROM streams WHERE category IS NOT
    substr(name, 1, instr(replace(name, '~', '-') || '-', '-') - 1)
    || iif(instr(name, '~'), '~', '');

-- tags: `refold doctor --repair` makes their index anew: it is not as the append that ends at position
SELECT last_position FROM (SELECT * FROM refold_tags EXCEPT SELECT * FROM tags) UNION ALL
SELECT last_position FROM (SELECT * FROM tags EXCEPT SELECT * FROM refold_tags);

-- clock: recorded_at goes back at position
SELECT position FROM (
    SELECT position, stream, recorded_at, lag(recorded_at) OVER (ORDER BY position) AS before
    FROM log
) WHERE recorded_at < before AND stream IS NOT (SELECT id FROM streams WHERE name = 'refold-clock');

-- clock: recorded_at is not within 1970 to 9999 at position
SELECT position FROM (
    SELECT position, recorded_at FROM log UNION ALL SELECT position, recorded_at FROM segments
) WHERE recorded_at NOT BETWEEN 0 AND 253402300799999999;
