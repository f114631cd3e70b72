-- What refold asks of a schema, by name: `refold.` stands for the schema, $1 is the tenant.

-- append
SELECT * FROM refold.append(
    $1::integer, $2::integer, $3::uuid, $4::bigint, $5::boolean, $6::boolean,
    $7::text[], $8::bigint[], $9::text[], $10::json, $11::bigint,
    $12::text[], $13::bigint[], $14::bigint[], $15::bigint[], $16::text[],
    $17::text[], $18::bytea[], $19::text[], $20::text[],
    $21::bigint[], $22::bigint[], $23::boolean[], $24::text[], $25::bigint[], $26::text[],
    $27::bigint[], $28::bigint[]
)

-- append_one: without a cursor, so that it is told the type of each value
SELECT * FROM refold.append_one(
    $1::integer, $2::integer, $3::text::uuid, $4::bigint, $5::boolean, $6::text, $7::bigint, $8::integer,
    $9::text, $10::json, $11::json
)

-- take_turn
SELECT refold.take_turn($1::integer, 'refold.log'::regclass)

-- begin_tables
SELECT refold.begin_tables($1::integer)

-- make_room
SELECT refold.make_room($1::integer)

-- guard_tables
SELECT refold.guard_tables()

-- commit_of: where a commit after position $3 stands, by its token; it lasts when this is answered
SELECT after + 1, recorded_at, refold.lasts($4::boolean) FROM refold.commits
WHERE tenant = $1 AND token = $2::uuid AND after >= $3

-- lasts
SELECT refold.lasts($1::boolean)

-- forget_commits: of the $2 oldest those that nobody looks for any more; never the newest
SELECT refold.forget_commits($1::integer, $2::bigint)

-- broken_at: where a condition is broken, and the last position that was looked at
SELECT refold.broken_at($1::integer, $2::json), (
    SELECT last FROM refold.commits WHERE tenant = $1 ORDER BY after DESC LIMIT 1
)

-- this_session: a process of the server may have the number of one before it. Nothing is set where a
-- pooler ($2) gives a session to others.
SELECT
    pid, backend_start::text, (SELECT system_identifier::text FROM pg_control_system()),
    pg_is_in_recovery()::integer,
    CASE WHEN $2::boolean THEN current_setting('default_transaction_isolation')
        ELSE set_config('default_transaction_isolation', 'read committed', false) END,
    (SELECT last FROM refold.commits WHERE tenant = $1 ORDER BY after DESC LIMIT 1)
FROM pg_stat_activity WHERE pid = pg_backend_pid()

-- end_session
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
WHERE pid = $1::integer AND backend_start = $2::timestamptz

-- is_session
SELECT 1 FROM pg_stat_activity WHERE pid = $1::integer AND backend_start = $2::timestamptz

-- stream_page: the appends that overlap versions $3..$4, from one end or the other ($6: 1 or -1).
-- Only the partitions that the stream stands in are looked into. A page ends after the append with
-- which it has come to $5 bytes, as they are stored: large ones compressed.
WITH stands AS MATERIALIZED (
    SELECT first_at, last_at FROM refold.streams WHERE tenant = $1 AND name = $2
)
SELECT
    position, stream, version, count, recorded_at, metadata, body, occurred_from, occurred_to,
    clock_at
FROM (
    SELECT
        *, sum(pg_column_size(body)) OVER (ORDER BY version * $6::integer)
            - pg_column_size(body) AS before
    FROM refold.log
    WHERE tenant = $1 AND stream = $2
        AND recorded_at >= (SELECT first_at FROM stands)
        AND recorded_at <= (SELECT last_at FROM stands)
        AND version >= coalesce((
            SELECT version FROM refold.log
            WHERE tenant = $1 AND stream = $2 AND version <= $3
                AND recorded_at >= (SELECT first_at FROM stands)
                AND recorded_at <= (SELECT last_at FROM stands)
            ORDER BY version DESC LIMIT 1
        ), $3)
        AND version <= $4 AND version + count > $3
) AS page
WHERE before < $5 ORDER BY version * $6::integer

-- log_page: the appends that hold positions over $2, at most $3, of categories and of types; none
-- that begins after $7. At last, without a body, the first run of positions that is detached and may
-- have some: first, month, last; no append behind it is given.
WITH away AS MATERIALIZED (
    SELECT first, last, month FROM refold.detached
    WHERE tenant = $1 AND last > $2 AND first <= $7
        AND ($4::text[] IS NULL OR categories && $4::text[])
        AND ($5::text[] IS NULL OR types && $5::text[])
    ORDER BY last LIMIT 1
)
SELECT
    position, stream, version, count, recorded_at, metadata, body, occurred_from, occurred_to,
    clock_at
FROM (
    SELECT
        *, sum(pg_column_size(body)) OVER (ORDER BY position) - pg_column_size(body) AS before
    FROM (
        SELECT * FROM refold.log
        WHERE tenant = $1 AND position >= coalesce((
            SELECT position FROM refold.log WHERE tenant = $1 AND position <= $2 + 1
            ORDER BY position DESC LIMIT 1
        ), 1) AND position + count - 1 > $2
            AND position <= least($7, (SELECT first - 1 FROM away))
            AND ($4::text[] IS NULL OR refold.category_of(stream) = ANY ($4::text[]))
            AND ($5::text[] IS NULL OR types && $5::text[])
        ORDER BY position LIMIT $3
    ) AS wanted
) AS page
WHERE before < $6
UNION ALL
SELECT first, month, last, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM away
ORDER BY position

-- tagged_page: the same of those with the tag $4, any of the types and all of the other tags; of one
-- that is detached the position of its last event alone
SELECT
    coalesce(position, last_position), stream, version, count, recorded_at, metadata, body,
    occurred_from, occurred_to, clock_at
FROM (
    SELECT
        *, sum(pg_column_size(body)) OVER (ORDER BY last_position)
            - coalesce(pg_column_size(body), 0) AS before
    FROM (
        SELECT log.*, t.last_position FROM refold.tags AS t
        LEFT JOIN refold.log AS log ON log.tenant = t.tenant AND log.recorded_at = t.recorded_at
            AND log.position = t.last_position - t.count + 1
        WHERE t.tenant = $1 AND t.tag = $4 AND t.last_position > $2
            AND ($5::text[] IS NULL OR t.types && $5::text[])
            AND NOT EXISTS (
                SELECT 1 FROM unnest($6::text[]) AS wanted (tag) WHERE NOT EXISTS (
                    SELECT 1 FROM refold.tags AS other WHERE other.tenant = $1
                        AND other.tag = wanted.tag AND other.last_position = t.last_position
                )
            )
        ORDER BY t.last_position LIMIT $3
    ) AS wanted
) AS page
WHERE coalesce(before, 0) < $7 ORDER BY last_position

-- whole: all the appends of a stream that is no branch and ends by version $3, as one row
SELECT
    min(position), min(version), sum(count)::bigint, min(recorded_at),
    convert_to(string_agg(body::text, $4 ORDER BY version), 'UTF8'),
    convert_to('[' || string_agg(concat(
        '[', position, ',', count, ',', recorded_at, ',', coalesce(metadata::text, 'null'), ',',
        coalesce(occurred_from::text, 'null'), ',', coalesce(occurred_to::text, 'null'), ',',
        coalesce(clock_at::text, 'null'), ']'
    ), ',' ORDER BY version) || ']', 'UTF8')
FROM refold.log
WHERE tenant = $1 AND stream = $2
    AND recorded_at >= (SELECT first_at FROM refold.streams WHERE tenant = $1 AND name = $2)
    AND recorded_at <= (
        SELECT last_at FROM refold.streams
        WHERE tenant = $1 AND name = $2 AND parent IS NULL AND version <= $3
    )
HAVING sum(pg_column_size(body)) < $5 AND min(version) = 0
    AND sum(count) = max(version + count)

-- heads
SELECT name, version, parent, fork_version, recorded_at FROM refold.streams
WHERE tenant = $1 AND name = ANY ($2)

-- streams_page
SELECT name, version, parent, fork_version, recorded_at FROM refold.streams
WHERE tenant = $1 AND name > $2 AND ($4::text IS NULL OR category = $4) ORDER BY name LIMIT $3

-- holds: whether the append with position $2 is that of time $3; how far the log goes; whether it
-- follows another server's; whether whoever asks may see it
SELECT
    (coalesce((
        SELECT position + count > $2 AND recorded_at = $3 FROM refold.log
        WHERE tenant = $1 AND position <= $2 ORDER BY position DESC LIMIT 1
    ), false) OR EXISTS (
        -- One that left the log with its month is as it was.
        SELECT 1 FROM refold.detached JOIN refold.months USING (month)
        WHERE tenant = $1 AND $2 BETWEEN first AND last AND starts <= $3 AND ends > $3
    ))::integer,
    coalesce((
        SELECT last FROM refold.commits WHERE tenant = $1 ORDER BY after DESC LIMIT 1
    ), 0),
    pg_is_in_recovery()::integer,
    ($1::integer <@ refold.seen())::integer

-- log_end: the last position of the log, and when it was recorded
SELECT last, recorded_at FROM refold.commits WHERE tenant = $1 ORDER BY after DESC LIMIT 1

-- kept
SELECT key, stream, version + count - 1, position + count - 1, count, recorded_at, true, digest
FROM refold.keys WHERE tenant = $1 AND key = ANY ($2) ORDER BY key, part

-- stored_appends: with their keys and what their streams branched from; at last, without a body, the
-- first run of positions that is detached, as in log_page
WITH away AS MATERIALIZED (
    SELECT first, last, month FROM refold.detached
    WHERE tenant = $1 AND last > $2 ORDER BY last LIMIT 1
)
(
    SELECT
        log.position, log.stream, log.version, log.recorded_at, log.clock_at, log.metadata::text,
        log.body::text, log.key, k.digest, s.parent, s.fork_version
    FROM refold.log AS log
    JOIN refold.streams AS s ON s.tenant = log.tenant AND s.name = log.stream
    LEFT JOIN refold.keys AS k ON k.tenant = log.tenant
        AND k.key = split_part(log.key, E'\x1f', 1)
        AND k.part = coalesce(nullif(split_part(log.key, E'\x1f', 2), ''), '0')::integer
    WHERE log.tenant = $1 AND log.position > $2
        AND ((SELECT first FROM away) IS NULL OR log.position < (SELECT first FROM away))
    ORDER BY log.position LIMIT 256
)
UNION ALL
SELECT first, month, last, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM away
ORDER BY position

-- snapshot
SELECT version, position, occurred_to, in_order, state, digest FROM refold.snapshots
WHERE tenant = $1 AND stream = $2 AND fold = $3 AND fingerprint = $4 AND version <= $5
ORDER BY version DESC LIMIT 1

-- drop_stale
DELETE FROM refold.snapshots WHERE tenant = $1 AND stream = $2 AND fold = $3 AND fingerprint <> $4

-- save_snapshot
INSERT INTO refold.snapshots (
    tenant, stream, fold, fingerprint, version, position, occurred_to, in_order, state, digest
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (tenant, stream, fold, version) DO UPDATE SET
    fingerprint = excluded.fingerprint, position = excluded.position,
    occurred_to = excluded.occurred_to, in_order = excluded.in_order, state = excluded.state,
    digest = excluded.digest

-- drop_snapshots
WITH gone AS (DELETE FROM refold.snapshots WHERE tenant = $1 RETURNING 1) SELECT count(*) FROM gone

-- progress: how far the rows of a projection have come. Here and below `refold.` is the schema of the
-- tables.
SELECT min(position) FROM refold.refold_progress JOIN refold.refold_projections
ON name = projection AND current = generation WHERE name = $1

-- beyond: a projection that stands where the log, which ends at $1, does not
SELECT name, position FROM refold.refold_progress
JOIN refold.refold_projections ON name = projection AND current = generation
WHERE position > $1 ORDER BY name LIMIT 1

-- has_projections
SELECT to_regclass('refold.refold_parked') IS NOT NULL

-- look: what a caller's SQL sees, and how many milliseconds it takes, unless a limit is set
SELECT set_config('search_path', $1, true), set_config('refold_session.tenant', $2, true),
    set_config(
        'statement_timeout', coalesce(nullif(current_setting('statement_timeout'), '0'), $3), true
    )

-- facts
SELECT current_setting('server_version_num')::integer, current_setting('server_encoding'),
    to_regnamespace($1) IS NOT NULL, to_regclass('refold.migrations') IS NOT NULL

-- migrations_made: with what was run, where that was noted
SELECT version, to_jsonb(m) ->> 'fingerprint' FROM refold.migrations AS m ORDER BY version

-- make_migrations
CREATE TABLE IF NOT EXISTS refold.migrations (
    version integer PRIMARY KEY, made_at timestamptz NOT NULL DEFAULT now(), fingerprint text
)

-- migrated
INSERT INTO refold.migrations (version, fingerprint) VALUES ($1, $2)

-- as_owner: what a member of the owner makes in a transaction is the owner's
SELECT set_config('role', pg_get_userbyid(relowner), true) FROM pg_class
WHERE oid = 'refold.migrations'::regclass AND pg_get_userbyid(relowner) <> current_user
    AND pg_has_role(current_user, relowner, 'USAGE')

-- prefix_of_roles
SELECT prefix FROM refold.settings WHERE prefix IS NOT NULL

-- types_of_appends
SELECT position, types FROM refold.log WHERE tenant = $1 AND position BETWEEN $2 AND $3

-- keyed_appends
SELECT k.key, k.digest, log.position, log.stream, log.body::text, log.metadata::text
FROM refold.keys AS k JOIN refold.log AS log
ON log.tenant = k.tenant AND log.position = k.position AND log.recorded_at = k.recorded_at
WHERE k.tenant = $1 ORDER BY k.key, k.part

-- tagged_appends: what metadata may say of tags, and those that are kept
SELECT last_position, log.metadata, kept.tags FROM (
    SELECT position + count - 1 AS last_position, count, recorded_at, types, metadata
    FROM refold.log
    WHERE tenant = $1 AND strpos(metadata::text, '"tags"') > 0 AND strpos(stream, '~') = 0
) AS log FULL JOIN (
    SELECT last_position, count, recorded_at, types, array_agg(tag ORDER BY tag) AS tags
    FROM refold.tags AS t WHERE tenant = $1 AND NOT EXISTS (
        SELECT 1 FROM refold.detached AS d
        WHERE d.tenant = $1 AND t.last_position BETWEEN d.first AND d.last
    )
    GROUP BY last_position, count, recorded_at, types
) AS kept USING (last_position, count, recorded_at, types)

-- size
SELECT
    (SELECT coalesce(sum(count), 0) FROM refold.log WHERE tenant = $1), count(*),
    sum(pg_total_relation_size(inhrelid))
FROM pg_inherits WHERE inhparent = 'refold.log'::regclass

-- make_partition
SELECT refold.make_month($1, $2)

-- channel
SELECT refold.channel($1::integer)

-- sizes: of the tables of all tenants, with what is kept beside them, and of their indexes
SELECT part, sum(size_bytes)::bigint, CASE part
    WHEN 'log' THEN (SELECT coalesce(sum(count), 0)::bigint FROM refold.log)
END
FROM pg_class AS c
CROSS JOIN LATERAL (
    SELECT CASE
        WHEN relname !~ '^log_([0-9]{4}_[0-9]{2}|default)$' THEN relname
        WHEN relispartition THEN 'log' ELSE 'log detached'
    END AS name
) AS own
CROSS JOIN LATERAL (
    VALUES (own.name, pg_table_size(c.oid)), (own.name || ' indexes', pg_indexes_size(c.oid))
) AS sized (part, size_bytes)
WHERE relkind = 'r' AND relnamespace =
    (SELECT relnamespace FROM pg_class WHERE oid = 'refold.log'::regclass)
GROUP BY part ORDER BY 2 DESC, part
