-- What `refold doctor` asks of the server: what endangers a log that is still whole. As checks.sql;
-- each tells how it is mended. A role that may not see others' sessions is shown none of them.

-- partitions: next month has none, `refold partitions create` makes it:
SELECT due.name FROM (
    SELECT extract(epoch FROM clock_timestamp()) AS now_s, 'log_' || to_char(
        date_trunc('month', clock_timestamp() AT TIME ZONE 'UTC') + interval '1 month', 'YYYY_MM'
    ) AS name
) AS due
WHERE (
    -- Of a log that is written to now; what nobody writes to needs none.
    SELECT recorded_at FROM refold.log WHERE tenant = $1 ORDER BY position DESC LIMIT 1
) BETWEEN (now_s - 31 * 86400) * 1000000 AND (now_s + 86400) * 1000000 AND NOT EXISTS (
    SELECT 1 FROM pg_class WHERE relname = due.name
        AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'refold.log'::regclass)
)

-- indexes: it is not valid, so nothing is found by it: REINDEX INDEX
SELECT indexrelid::regclass FROM pg_index JOIN pg_class ON pg_class.oid = indrelid
WHERE relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'refold.streams'::regclass)
    AND NOT (indisvalid AND indisready)
ORDER BY indexrelid LIMIT 1

-- indexes: one is missing, without which what must be once could be twice:
SELECT format('ALTER TABLE %s ADD %s (%s)', wanted.relation, wanted.kind, wanted.columns)
FROM (VALUES
    ('refold.log'::regclass, 'PRIMARY KEY', 'tenant, "position", recorded_at'),
    ('refold.log', 'UNIQUE', 'tenant, stream, version, recorded_at'),
    ('refold.commits', 'PRIMARY KEY', 'tenant, after'),
    ('refold.streams', 'PRIMARY KEY', 'tenant, name'),
    ('refold.keys', 'PRIMARY KEY', 'tenant, key, part'),
    ('refold.tags', 'PRIMARY KEY', 'tenant, tag, last_position'),
    ('refold.snapshots', 'PRIMARY KEY', 'tenant, stream, fold, version')
) AS wanted (relation, kind, columns)
WHERE NOT EXISTS (
    SELECT 1 FROM pg_constraint WHERE conrelid = wanted.relation
        AND pg_get_constraintdef(oid) = wanted.kind || ' (' || wanted.columns || ')'
) LIMIT 1

-- indexes: one is missing, so that streams are found slowly:
SELECT 'CREATE INDEX streams_category ON refold.streams (tenant, category, name)'
WHERE to_regclass('refold.streams_category') IS NULL

-- server settings: what is acknowledged may be lost where the server or its machine fails:
SELECT string_agg(
    format('ALTER SYSTEM SET %s = %s', name, CASE setting WHEN 'on' THEN 'off' ELSE 'on' END),
    '; ' ORDER BY name
) || '; SELECT pg_reload_conf()'
FROM pg_settings
WHERE (name, setting) IN (
    ('fsync', 'off'), ('full_page_writes', 'off'), ('zero_damaged_pages', 'on'),
    ('ignore_checksum_failure', 'on')
) AND current_setting('refold_server.expendable', true) IS DISTINCT FROM 'on'
HAVING count(*) > 0

-- server settings: appends do not wait for the standbys that they are to wait for: ALTER SYSTEM RESET
SELECT name FROM pg_settings WHERE name = 'synchronous_commit' AND setting = 'local'
    AND current_setting('synchronous_standby_names') <> ''

-- server settings: every append waits for a standby that is not there: start it, or reset
SELECT format('synchronous_standby_names = %L', current_setting('synchronous_standby_names'))
WHERE current_setting('synchronous_standby_names') <> '' AND NOT pg_is_in_recovery()
    AND pg_has_role('pg_read_all_stats', 'USAGE') AND NOT EXISTS (
        SELECT 1 FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')
    )

-- server transactions: one is open for over an hour; nothing is cleaned up meanwhile and no partition
SELECT format(
    'can be made: SELECT pg_terminate_backend(%s), of %s, %s since %s', pid, usename, state,
    xact_start
)
FROM pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
    AND xact_start < clock_timestamp() - interval '1 hour'
ORDER BY xact_start LIMIT 1

-- server transactions: one was prepared over an hour ago and keeps its locks: COMMIT or ROLLBACK
SELECT format('PREPARED %L', gid) FROM pg_prepared_xacts
WHERE database = current_database() AND prepared < clock_timestamp() - interval '1 hour'
ORDER BY prepared LIMIT 1

-- server replication: nobody reads a slot, for which the server fills its disk: unless somebody will,
SELECT format('SELECT pg_drop_replication_slot(%L), of %s', slot_name, pg_size_pretty(kept))
FROM (
    SELECT slot_name, pg_wal_lsn_diff(CASE
        WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn()
    END, restart_lsn) AS kept
    FROM pg_replication_slots WHERE NOT active
) AS slot
WHERE kept > 1073741824 -- bytes
ORDER BY kept DESC LIMIT 1

-- server replication: who reads a slot cannot go on, what he needs is gone: make it and him anew,
SELECT format('SELECT pg_drop_replication_slot(%L)', slot_name) FROM pg_replication_slots
WHERE wal_status = 'lost' ORDER BY slot_name LIMIT 1

-- server replication: a standby is far behind, and would lack as much if it took over: it is
SELECT format('%s, by %s', coalesce(client_addr::text, application_name), pg_size_pretty(behind))
FROM (
    SELECT client_addr, application_name,
        pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn) AS behind
    FROM pg_stat_replication WHERE NOT pg_is_in_recovery()
) AS standby
WHERE behind > 1073741824 -- bytes
ORDER BY behind DESC LIMIT 1

-- server replication: no row of what is published can be changed: ALTER TABLE
SELECT format('%s REPLICA IDENTITY DEFAULT', published.relation)
FROM (
    SELECT format('%I.%I', t.schemaname, t.tablename)::regclass AS relation
    FROM pg_publication_tables AS t JOIN pg_publication AS p ON p.pubname = t.pubname
    WHERE p.pubupdate OR p.pubdelete
) AS published JOIN pg_class AS c ON c.oid = published.relation
WHERE c.relreplident = 'n'
    AND c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'refold.streams'::regclass)
LIMIT 1

-- roles: others' rows can be seen, or nobody's, for want of a policy: `refold init --roles` makes it, of
SELECT c.oid::regclass FROM pg_class AS c
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = 1 AND a.attname = 'tenant'
WHERE c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'refold.log'::regclass)
    AND c.relkind IN ('r', 'p')
    AND EXISTS (SELECT 1 FROM pg_policy WHERE polname = 'refold_tenant' AND polrelid IN (
        'refold.log'::regclass, 'refold.streams'::regclass
    ))
    AND NOT (c.relrowsecurity AND EXISTS (
        SELECT 1 FROM pg_policy WHERE polname = 'refold_tenant' AND polrelid = c.oid
    ))
ORDER BY c.relname LIMIT 1

-- roles: nobody looks at what writers store: `refold init --roles` makes the trigger, of
SELECT one.name FROM unnest(ARRAY['commits', 'keys', 'log', 'streams', 'tags']) AS one (name)
WHERE EXISTS (SELECT 1 FROM pg_policy WHERE polrelid = 'refold.log'::regclass)
    AND NOT EXISTS (
        SELECT 1 FROM pg_trigger WHERE tgname = 'refold_writer' AND tgenabled IN ('O', 'A')
            AND tgrelid = ('refold.' || one.name)::regclass
    )
LIMIT 1

-- roles: everybody may call what is the owner's: `refold init --roles` takes it away,
SELECT p.oid::regprocedure FROM pg_proc AS p
CROSS JOIN LATERAL aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS may
WHERE p.pronamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'refold.log'::regclass)
    AND EXISTS (SELECT 1 FROM pg_policy WHERE polrelid = 'refold.log'::regclass)
    AND p.provolatile = 'v' AND may.grantee = 0
ORDER BY p.proname LIMIT 1

-- roles: everybody may CREATE in a schema, and so make what others run unasked: REVOKE CREATE ON SCHEMA
SELECT n.nspname || ' FROM PUBLIC' FROM pg_namespace AS n, aclexplode(n.nspacl) AS may
WHERE n.nspname = 'public' AND may.grantee = 0 AND may.privilege_type = 'CREATE'
    AND EXISTS (SELECT 1 FROM pg_policy WHERE polrelid = 'refold.log'::regclass)
