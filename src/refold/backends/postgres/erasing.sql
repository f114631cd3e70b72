-- What an eraser asks, by name; as statements.sql. any_table is a table of appends.

-- make_replaced: tables in which rows were replaced, and by which transaction, since they were written anew
CREATE TABLE IF NOT EXISTS refold.refold_replaced (name text PRIMARY KEY, xid text NOT NULL)

-- mark_replaced
INSERT INTO refold.refold_replaced VALUES ($1, pg_current_xact_id()::text)
ON CONFLICT (name) DO UPDATE SET xid = excluded.xid

-- append_at: the append that holds a position, in any table of the log
SELECT position, stream, version, count, recorded_at, metadata, body, key, types,
    tableoid::regclass::text
FROM any_table WHERE tenant = $1 AND position = (
    SELECT max(position) FROM any_table WHERE tenant = $1 AND position <= $2
) AND position + count > $2 FOR UPDATE

-- put_append
UPDATE any_table SET body = $1::json, metadata = $2::json
WHERE tenant = $3 AND position = $4 AND recorded_at = $5

-- away_at: the month that a position left the log with, and its table where that stands
SELECT month, coalesce(to_regclass('refold.log_' || replace(month, '-', '_'))::text, '')
FROM refold.detached WHERE tenant = $1 AND first <= $2 AND last >= $2

-- archived_at: where the month of a time, or one by its name, is archived
SELECT month, folder, manifest FROM refold.months
WHERE manifest IS NOT NULL AND (starts <= $1 AND ends > $1 OR month = $2)

-- forget_digest
UPDATE refold.keys SET digest = $1::bytea WHERE tenant = $2 AND key = $3

-- untag
DELETE FROM refold.tags WHERE tenant = $1 AND tag = $2 AND last_position = $3

-- tag
INSERT INTO refold.tags (tenant, count, last_position, recorded_at, tag, types)
VALUES ($1, $2, $3, $4, $5, $6::text[]) ON CONFLICT DO NOTHING

-- drop_made_of: snapshots of streams and of branches of them
WITH RECURSIVE made_of (name) AS (
    SELECT unnest($1::text[]) COLLATE "C"
    UNION
    SELECT s.name FROM refold.streams AS s JOIN made_of ON s.parent = made_of.name
    WHERE s.tenant = $2
) DELETE FROM refold.snapshots WHERE tenant = $2 AND stream IN (SELECT name FROM made_of)

-- older_than: who may still see rows that are $1 transactions old
SELECT pid::text FROM pg_stat_activity
WHERE pid <> pg_backend_pid() AND greatest(age(backend_xmin), age(backend_xid)) >= $1
UNION ALL SELECT 'slot ' || slot_name FROM pg_replication_slots
WHERE greatest(age(xmin), age(catalog_xmin)) >= $1
UNION ALL SELECT 'prepared ' || gid FROM pg_prepared_xacts WHERE age(transaction) >= $1

-- marked: with the age of the mark, and the index by which it is written anew
SELECT name, age(xid::xid8::xid), (
    SELECT quote_ident(c.relname) FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
    WHERE i.indrelid = to_regclass(name) AND i.indisprimary
) FROM refold.refold_replaced ORDER BY name

-- know_archive
UPDATE refold.months SET manifest = $1, folder = $2 WHERE month = $3

-- forget_marks
DELETE FROM refold.refold_replaced

-- elsewhere: what keeps what stood in tables, in words
SELECT format(
    'the write-ahead log of the server%s holds what was replaced until it is recycled and written '
    'over; base backups and dumps hold it for good%s',
    CASE current_setting('archive_mode') WHEN 'off' THEN '' ELSE ', which is archived,' END,
    coalesce('; ' || nullif(count(*), 0) || ' standbys follow', '')
) FROM pg_stat_replication
