-- What refold asks of the months of a log, by name; as statements.sql. `log_month` is the table of one,
-- month_starts and month_ends are its bounds.

-- log_bytes: of all months that have a table
SELECT sum(pg_total_relation_size(oid))::bigint FROM pg_class
WHERE relkind = 'r' AND relname ~ '^log_([0-9]{4}_[0-9]{2}|default)$' AND relnamespace =
    (SELECT relnamespace FROM pg_class WHERE oid = 'refold.log'::regclass)

-- detached_of: the months out of the log that a stream stands in
SELECT month FROM refold.months JOIN refold.streams AS s
ON s.tenant = $1 AND s.name = $2 AND s.first_at < ends AND s.last_at >= starts
WHERE month IN (SELECT month FROM refold.detached WHERE tenant = $1) ORDER BY month

-- archived: where a month was archived, and under which hash
SELECT folder, manifest FROM refold.months WHERE month = $1

-- archived_months
SELECT month, folder, manifest FROM refold.months WHERE manifest IS NOT NULL ORDER BY month

-- months: those that have a table or had one, and whether they are in the log; the last is default.
-- What those hold that are closed, of all tenants; positions are those of one.
SELECT
    month, CASE
        WHEN part.is_attached IS NOT FALSE AND away.month IS NOT NULL THEN 'dropped'
        WHEN part.is_attached THEN 'attached'
        WHEN NOT part.is_attached THEN 'detached'
        ELSE 'dropped'
    END, coalesce(part.size_bytes, 0), m.folder, m.manifest, known.appends, known.events, known.first,
    known.last
FROM (
    SELECT
        replace(substr(relname, 5), '_', '-') AS month, pg_total_relation_size(oid) AS size_bytes,
        relispartition AS is_attached
    FROM pg_class
    WHERE relkind = 'r' AND relname ~ '^log_([0-9]{4}_[0-9]{2}|default)$' AND relnamespace =
        (SELECT relnamespace FROM pg_class WHERE oid = 'refold.log'::regclass)
) AS part
FULL JOIN (SELECT DISTINCT month FROM refold.detached) AS away USING (month)
FULL JOIN (SELECT * FROM refold.months WHERE manifest IS NOT NULL) AS m USING (month)
LEFT JOIN (
    SELECT
        month, sum(appends)::bigint AS appends, sum(events)::bigint AS events,
        min(first) FILTER (WHERE tenant = $1) AS first, max(last) FILTER (WHERE tenant = $1) AS last
    FROM refold.counted GROUP BY month
) AS known USING (month)
ORDER BY month

-- month_holds: of all tenants; positions of one
SELECT
    count(*), coalesce(sum(count), 0)::bigint, min(position) FILTER (WHERE tenant = $1),
    max(position + count - 1) FILTER (WHERE tenant = $1)
FROM refold.log WHERE recorded_at >= month_starts AND recorded_at < month_ends

-- default_holds
SELECT
    count(*), coalesce(sum(count), 0)::bigint, min(position) FILTER (WHERE tenant = $1),
    max(position + count - 1) FILTER (WHERE tenant = $1)
FROM refold.log_default

-- count_month: what it holds, for ever, unless that is known
INSERT INTO refold.counted (tenant, first, last, appends, events, month)
SELECT tenant, min(position), max(position + count - 1), count(*), sum(count), $1 FROM refold.log
WHERE recorded_at >= month_starts AND recorded_at < month_ends
    AND NOT EXISTS (SELECT 1 FROM refold.counted WHERE month = $1)
GROUP BY tenant
ON CONFLICT DO NOTHING

-- month_appends: with the digests of their keys
SELECT
    l.tenant, l.position, l.version, l.recorded_at, l.occurred_from, l.occurred_to, l.clock_at,
    l.count, l.stream, l.types, l.key, l.metadata, l.body, l.leaf, l.commitment, k.digest
FROM refold.log_month AS l LEFT JOIN refold.keys AS k ON k.tenant = l.tenant
    AND k.key = split_part(l.key, E'\x1f', 1)
    AND k.part = coalesce(nullif(split_part(l.key, E'\x1f', 2), ''), '0')::integer
ORDER BY l.tenant, l.position

-- load: COPY is refused where rows are seen by tenant
INSERT INTO refold.log (
    tenant, position, version, recorded_at, occurred_from, occurred_to, clock_at, count, stream,
    types, key, metadata, body, leaf, commitment
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12::json, $13::json, $14, $15)

-- turn_of_months: until the end of the transaction, where nobody else has it
SELECT pg_try_advisory_xact_lock(
    hashtextextended('refold months', 'refold.log'::regclass::oid::bigint)
)::integer

-- has_turn: whose it is
SELECT a.pid, a.application_name FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
CROSS JOIN LATERAL hashtextextended('refold months', 'refold.log'::regclass::oid::bigint) AS turn
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
    AND l.classid::bigint = turn >> 32 & 4294967295 AND l.objid::bigint = turn & 4294967295
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())

-- lock_commits: waits for everybody who stored one and did not end
LOCK TABLE refold.commits IN SHARE ROW EXCLUSIVE MODE

-- lock_log
LOCK TABLE ONLY refold.log IN ACCESS EXCLUSIVE MODE

-- hold_month: nobody changes what is in its table
LOCK TABLE refold.log_month IN SHARE MODE

-- is_pid: whether the server has a process of a number
SELECT 1 FROM pg_stat_activity WHERE pid = $1::integer

-- holders: whose transactions hold the log or a month of it, the strongest first
SELECT a.pid, a.application_name, coalesce(a.state, 'of ' || a.usename)
FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
JOIN pg_class AS c ON c.oid = l.relation
WHERE l.locktype = 'relation' AND l.granted AND a.pid <> pg_backend_pid()
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND c.relname ~ '^(commits|log|log_[0-9]{4}_[0-9]{2}|log_default)$' AND c.relnamespace =
        (SELECT relnamespace FROM pg_class WHERE oid = 'refold.log'::regclass)
GROUP BY a.pid, a.application_name, a.state, a.usename
ORDER BY bool_or(l.mode = 'AccessExclusiveLock') DESC, a.pid

-- stands: how many appends
SELECT count(*) FROM refold.log_month

-- detach
ALTER TABLE refold.log DETACH PARTITION refold.log_month

-- bound
ALTER TABLE refold.log_month DROP CONSTRAINT IF EXISTS month,
    ADD CONSTRAINT month CHECK (recorded_at >= month_starts AND recorded_at < month_ends)

-- attach
ALTER TABLE refold.log
ATTACH PARTITION refold.log_month FOR VALUES FROM (month_starts) TO (month_ends)

-- drop
DROP TABLE refold.log_month

-- strays: when the first append of each month was recorded that stands in the default partition
SELECT min(recorded_at) FROM refold.log_default
GROUP BY date_trunc('month', timestamp 'epoch' + (recorded_at / 1000000) * interval '1 second')
ORDER BY 1

-- is_over: whether a time has come, by the server's clock and by the log's own
SELECT ($1::bigint <= extract(epoch FROM clock_timestamp()) * 1000000
    AND EXISTS (SELECT 1 FROM refold.commits WHERE recorded_at >= $1::bigint))::integer

-- close_month
INSERT INTO refold.months (month, starts, ends) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING

-- note_detached
SELECT refold.note_detached($1, $2, $3)

-- left: the positions that left the log with it
SELECT tenant, first, last, appends FROM refold.detached WHERE month = $1 ORDER BY tenant, first

-- forget_detached: how many appends that were, of all tenants
WITH back AS (DELETE FROM refold.detached WHERE month = $1 RETURNING appends)
SELECT coalesce(sum(appends), 0)::bigint FROM back

-- note_archived
UPDATE refold.months SET folder = $2, manifest = $3 WHERE month = $1

-- server_now
SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
