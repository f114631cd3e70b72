-- Months of the log that were closed, archived or taken out of it.
CREATE TABLE refold.months (
    starts bigint NOT NULL,        -- of recorded_at
    ends bigint NOT NULL,          -- where the next one begins: nothing gets a time before it any more
    month text COLLATE "C" PRIMARY KEY, -- such as 2026-01
    folder text,                   -- where its archive was written and read back, and the SHA-256 of
    manifest text                  -- the manifest there; NULL where there is none
);

-- What a month that is closed holds of each log, counted when it was closed.
CREATE TABLE refold.counted (
    tenant integer NOT NULL,
    first bigint NOT NULL,         -- positions
    last bigint NOT NULL,
    appends bigint NOT NULL,
    events bigint NOT NULL,
    month text COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, month)
);

-- The positions that left the log with a month: they are known, and nobody passes over them unseen.
CREATE TABLE refold.detached (
    tenant integer NOT NULL,
    first bigint NOT NULL,
    last bigint NOT NULL,
    appends bigint NOT NULL,
    month text COLLATE "C" NOT NULL,
    categories text[] COLLATE "C" NOT NULL,
    types text[] COLLATE "C" NOT NULL,
    happened text[] COLLATE "C" NOT NULL, -- the types outside of branches, which did not happen
    PRIMARY KEY (tenant, last)
);

-- A month that is closed stays as it is: a commit with a time in it is refused.
CREATE FUNCTION refold.check_month() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    ends bigint := (SELECT max(m.ends) FROM refold.months AS m);
BEGIN
    IF NEW.recorded_at < ends THEN
        RAISE EXCEPTION 'the clock says %, and the months before % are closed: set it right',
            refold.rfc3339(NEW.recorded_at), refold.rfc3339(ends) USING ERRCODE = 'RF002';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER closed_months BEFORE INSERT ON refold.commits
FOR EACH ROW EXECUTE FUNCTION refold.check_month();

CREATE FUNCTION refold.say_detached(month text) RETURNS void LANGUAGE plpgsql STABLE AS $$
DECLARE
    put_in text := (SELECT m.folder FROM refold.months AS m WHERE m.month = say_detached.month);
BEGIN
    RAISE EXCEPTION 'the month % was taken out of the log%: `refold partitions attach %` brings it '
        'back', month, coalesce(' and is archived in ' || put_in, ''), month
        USING ERRCODE = 'RF001';
END $$;

-- Note the positions of a month, run by run: it is about to leave.
CREATE FUNCTION refold.note_detached(of_month text, of_starts bigint, of_ends bigint) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO refold.detached
        (tenant, first, last, appends, month, categories, types, happened)
    WITH append AS MATERIALIZED (
        SELECT
            tenant, position, count, refold.category_of(stream) AS category, types,
            position - lag(position + count) OVER before AS gap
        FROM refold.log WHERE recorded_at >= of_starts AND recorded_at < of_ends
        WINDOW before AS (PARTITION BY tenant ORDER BY position)
    ), numbered AS (
        SELECT *, count(nullif(gap, 0)) OVER (PARTITION BY tenant ORDER BY position) AS run
        FROM append
    )
    SELECT
        tenant, min(position), max(position + count - 1), count(DISTINCT position), of_month,
        array_agg(DISTINCT category), array_agg(DISTINCT type.name),
        coalesce(array_agg(DISTINCT type.name) FILTER (WHERE category NOT LIKE '%~'), '{}')
    FROM numbered CROSS JOIN LATERAL unnest(types) AS type (name) GROUP BY tenant, run
$$;

-- A condition rests on what is detached too: of that it is known which types there are.
ALTER FUNCTION refold.found_after(integer, text[], text[], bigint) RENAME TO found_attached;
CREATE FUNCTION refold.found_after(of_tenant integer, of_tags text[], of_types text[], after bigint)
RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    found bigint;
    away record;
BEGIN
    -- A month must neither leave nor come back between what is looked at and what that is known of:
    -- each statement after this one sees what stands when no month can change any more.
    LOCK TABLE ONLY refold.log IN ACCESS SHARE MODE;
    found := refold.found_attached(of_tenant, of_tags, of_types, after);
    FOR away IN
        SELECT d.first, d.last, d.month FROM refold.detached AS d
        WHERE d.tenant = of_tenant AND d.last > after AND d.happened && of_types
            AND (found IS NULL OR d.last < found)
        ORDER BY d.last
    LOOP
        IF of_tags = '{}' AND away.first > after THEN
            RETURN away.last; -- One stands in it; which, only its archive says.
        ELSIF found IS NULL AND (of_tags = '{}' OR EXISTS (
            SELECT 1 FROM refold.tags AS t
            WHERE t.tenant = of_tenant AND t.tag = of_tags[1] AND t.last_position > after
                AND t.last_position <= away.last AND t.last_position - t.count < after
        )) THEN
            PERFORM refold.say_detached(away.month); -- So is which events of an append come after.
        END IF;
    END LOOP;
    RETURN found;
END $$;

-- Whether the partition of the month of a time stands; it is made unless it is there. Rows of it that
-- had to go to the default partition move there, unless that holds more than `rows_max` (NULL: any
-- number): nobody reads or writes meanwhile. Waits for who does for a moment, and is tried
-- again another time.
CREATE FUNCTION refold.make_partition(at bigint, rows_max bigint DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    month timestamp := date_trunc(
        'month', timestamp 'epoch' + (at / 1000000) * interval '1 second'
    );
    partition text := 'log_' || to_char(month, 'YYYY_MM');
    starts bigint := extract(epoch FROM month) * 1000000;
    ends bigint := extract(epoch FROM month + interval '1 month') * 1000000;
BEGIN
    IF to_regclass('refold.' || partition) IS NOT NULL THEN
        RETURN true;
    END IF;
    -- As a whole, and before anything else: a statement that was planned without a partition must not
    -- run when rows are in it, and whoever holds a part of the log would wait for another who does.
    PERFORM set_config('lock_timeout', '200ms', true);
    LOCK TABLE ONLY refold.log IN ACCESS EXCLUSIVE MODE;
    IF to_regclass('refold.' || partition) IS NOT NULL THEN
        RETURN true; -- Another has made it meanwhile.
    END IF;
    IF rows_max < (SELECT count(*) FROM (SELECT 1 FROM refold.log_default LIMIT rows_max + 1) AS r) THEN
        RETURN false;
    END IF;
    LOCK TABLE refold.log_default IN ACCESS EXCLUSIVE MODE;
    EXECUTE format('CREATE TABLE refold.%I (LIKE refold.log INCLUDING ALL)', partition);
    EXECUTE format(
        'WITH moved AS (DELETE FROM refold.log_default WHERE recorded_at >= %s AND recorded_at < %s'
        ' RETURNING *) INSERT INTO refold.%I SELECT * FROM moved', starts, ends, partition
    );
    EXECUTE format(
        'ALTER TABLE refold.log ATTACH PARTITION refold.%I FOR VALUES FROM (%s) TO (%s)',
        partition, starts, ends
    );
    RETURN true;
END $$;

-- All events or an error, as in a file: the view events does not leave out a month in silence. It
-- stays the view that it is, whoever looks at it through one of his own.
DO $$ BEGIN
    EXECUTE 'CREATE VIEW refold.events_attached AS ' || pg_get_viewdef('refold.events'::regclass);
END $$;
CREATE FUNCTION refold.detached_events(month text, is_known boolean)
RETURNS SETOF refold.events_attached LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF NOT is_known THEN
        RAISE EXCEPTION 'the month % left the log since this transaction began: begin another', month
            USING ERRCODE = 'RF001';
    END IF;
    PERFORM refold.say_detached(month);
END $$;
CREATE OR REPLACE VIEW refold.events AS
SELECT events.* FROM (
    SELECT d.month, true AS is_known FROM refold.detached AS d WHERE d.tenant = refold.tenant()
    UNION ALL
    -- What a transaction saw when it began, which does not see what is detached since, is compared
    -- with what stands now, which that function tells.
    SELECT replace(substr(part.relname, 5), '_', '-'), false
    FROM pg_inherits AS i JOIN pg_class AS part ON part.oid = i.inhrelid
    WHERE i.inhparent = 'refold.log'::regclass
        AND pg_partition_root(i.inhrelid) IS DISTINCT FROM 'refold.log'::regclass
) AS away CROSS JOIN LATERAL refold.detached_events(away.month, away.is_known) AS events
UNION ALL
SELECT * FROM refold.events_attached;
