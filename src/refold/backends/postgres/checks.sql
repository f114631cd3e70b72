-- What `refold doctor` asks of a log. Each query gives a row where something is wrong. The line over
-- it says the name of the check, and what is said before the row; $1 is the tenant.

-- partitions: `refold partitions create` moves it where it belongs, from the default partition: position
SELECT position FROM refold.log_default ORDER BY position LIMIT 1

-- positions without gaps: it does not begin where the append before it ends, the one at position
SELECT position FROM (
    SELECT position, lag(ends, 1, 1::bigint) OVER (ORDER BY position) AS due FROM (
        SELECT position, position + count AS ends FROM refold.log WHERE tenant = $1
        UNION ALL SELECT first, last + 1 FROM refold.detached WHERE tenant = $1
    ) AS stands
) AS append WHERE position <> due ORDER BY position LIMIT 1

-- positions without gaps: it has other events than it counts, the append at position
SELECT position FROM refold.log
WHERE tenant = $1 AND count <> json_array_length(body) ORDER BY position LIMIT 1

-- positions without gaps: the log does not end where its last commit says, at position
SELECT last FROM (
    SELECT last FROM refold.commits WHERE tenant = $1 ORDER BY after DESC LIMIT 1
) AS newest WHERE last <> greatest(
    (SELECT position + count - 1 FROM refold.log WHERE tenant = $1 ORDER BY position DESC LIMIT 1),
    (SELECT max(last) FROM refold.detached WHERE tenant = $1)
)

-- positions without gaps: no commit says how the log ends, at position
SELECT max(position) FROM refold.log WHERE tenant = $1
HAVING max(position) IS NOT NULL AND NOT EXISTS (SELECT 1 FROM refold.commits WHERE tenant = $1)

-- versions without gaps: a gap before
SELECT append.stream || '@' || append.version FROM (
    SELECT
        stream, version, position, lag(version + count) OVER append AS due,
        lag(position, 1, 0::bigint) OVER append AS after
    FROM refold.log WHERE tenant = $1 WINDOW append AS (PARTITION BY stream ORDER BY version)
) AS append LEFT JOIN refold.streams AS s ON s.tenant = $1 AND s.name = append.stream
WHERE append.version <> coalesce(append.due, coalesce(s.fork_version + 1, 0)) AND NOT EXISTS (
    SELECT 1 FROM refold.detached AS d
    WHERE d.tenant = $1 AND d.first > append.after AND d.last < append.position
) LIMIT 1

-- keys: none of the table keys stands for it, the key of position
SELECT log.position FROM refold.log AS log
LEFT JOIN refold.keys AS k ON k.tenant = $1 AND k.position = log.position
    AND k.stream = log.stream AND k.version = log.version AND k.count = log.count
    AND k.recorded_at = log.recorded_at
    AND k.key || CASE WHEN k.part = 0 THEN '' ELSE E'\x1f' || k.part END = log.key
WHERE log.tenant = $1 AND log.key IS NOT NULL AND k.key IS NULL LIMIT 1

-- keys: no append is where it says, the key
SELECT k.key FROM refold.keys AS k
LEFT JOIN refold.log AS log ON log.tenant = $1 AND log.position = k.position
    AND log.recorded_at = k.recorded_at
    AND k.key || CASE WHEN k.part = 0 THEN '' ELSE E'\x1f' || k.part END = log.key
WHERE k.tenant = $1 AND log.key IS NULL AND NOT EXISTS (
    SELECT 1 FROM refold.detached AS d
    WHERE d.tenant = $1 AND k.position BETWEEN d.first AND d.last
) LIMIT 1

-- keys: the part before it is missing, of the append under the key
SELECT k.key FROM refold.keys AS k WHERE k.tenant = $1 AND k.part > 0 AND NOT EXISTS (
    SELECT 1 FROM refold.keys AS before
    WHERE before.tenant = $1 AND before.key = k.key AND before.part = k.part - 1
) LIMIT 1

-- occurred: its earliest time is without its latest, or after it, at position
SELECT position FROM refold.log WHERE tenant = $1 AND (
    (occurred_from IS NULL) <> (occurred_to IS NULL) OR occurred_from > occurred_to
) LIMIT 1

-- streams: no stream holds position
SELECT position FROM refold.log AS log WHERE tenant = $1 AND NOT EXISTS (
    SELECT 1 FROM refold.streams AS s WHERE s.tenant = $1 AND s.name = log.stream
) LIMIT 1

-- streams: its events do not end where it says, or stand in other times, of
SELECT s.name FROM refold.streams AS s LEFT JOIN (
    SELECT
        stream, max(version + count - 1) AS version, min(recorded_at) AS first_at,
        max(recorded_at) AS last_at
    FROM refold.log WHERE tenant = $1 GROUP BY stream
) AS held ON held.stream = s.name
WHERE s.tenant = $1
    AND (s.version, s.first_at, s.last_at) IS DISTINCT FROM
        (held.version, held.first_at, held.last_at)
    AND NOT EXISTS (
        SELECT 1 FROM refold.detached AS d JOIN refold.months AS m USING (month)
        WHERE d.tenant = $1 AND s.first_at < m.ends AND s.last_at >= m.starts
    )
LIMIT 1

-- streams: what it branches from is not there, of
SELECT branch.name FROM refold.streams AS branch
LEFT JOIN refold.streams AS s ON s.tenant = $1 AND s.name = branch.parent
WHERE branch.tenant = $1 AND (
    (branch.parent IS NULL) <> (branch.fork_version IS NULL) OR branch.fork_version < -1
    OR (branch.parent IS NOT NULL AND greatest(branch.fork_version, 0) > coalesce(s.version, -1))
) LIMIT 1

-- streams: its category is not that of its name, of
SELECT name FROM refold.streams
WHERE tenant = $1 AND category <> refold.category_of(name) LIMIT 1

-- clock: recorded_at goes back at position
SELECT position FROM (
    SELECT
        position, stream, recorded_at, lag(recorded_at) OVER (ORDER BY position) AS before,
        lag(position + count) OVER (ORDER BY position) AS due
    FROM refold.log WHERE tenant = $1
) AS append WHERE recorded_at < before AND position = due AND stream <> 'refold-clock' LIMIT 1
