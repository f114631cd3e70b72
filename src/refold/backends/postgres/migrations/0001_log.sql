-- One row an append: 1 or more events of one stream, side by side; docs/reference/postgresql.md.
-- `refold.` stands for the schema that the address names. A tenant is a log of its own: it is the
-- first column of every key, so that tables may be spread over servers by it.
CREATE TABLE refold.log (
    tenant integer NOT NULL,
    position bigint NOT NULL,      -- of the first event
    version bigint NOT NULL,       -- of the first event
    recorded_at bigint NOT NULL,   -- microseconds UTC; the month of it is the partition
    occurred_from bigint,          -- the earliest and latest occurred_at of its events,
    occurred_to bigint,            -- NULL where all are recorded_at
    clock_at bigint,               -- what the clock said where it stood behind recorded_at
    count integer NOT NULL,
    stream text COLLATE "C" NOT NULL,
    types text[] COLLATE "C" NOT NULL, -- of its events, without their schemas, sorted
    key text COLLATE "C",
    metadata json,                 -- an object shared by the events; json keeps its text to the byte
    body json NOT NULL,            -- an array of [tag, payload, occurred_at, metadata]
    leaf bytea,                    -- what a sealer keeps of an append: its leaf in a tree of
    commitment bytea,              -- hashes, and what the leaf commits to
    PRIMARY KEY (tenant, position, recorded_at),
    UNIQUE (tenant, stream, version, recorded_at)
) PARTITION BY RANGE (recorded_at);
CREATE TABLE refold.log_default PARTITION OF refold.log DEFAULT; -- empty, unless no month could be made

-- Bodies over 2 KB are compressed, by lz4 where the server was built with it: that takes half of the
-- time of an append of a hundred events. A partition takes it over from `log`.
DO $$ BEGIN
    ALTER TABLE refold.log ALTER COLUMN body SET COMPRESSION lz4;
    ALTER TABLE refold.log_default ALTER COLUMN body SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported THEN
    NULL;
END $$;

-- Every commit, chained: two that follow the same position cannot both stand, in whatever partitions
-- their rows are. Only the newest are needed.
CREATE TABLE refold.commits (
    tenant integer NOT NULL,
    after bigint NOT NULL,         -- the last position before it
    last bigint NOT NULL,          -- and its own
    recorded_at bigint NOT NULL,
    token uuid NOT NULL,           -- by it a writer that lost its connection finds what it stored
    PRIMARY KEY (tenant, after)
);

CREATE TABLE refold.streams (
    tenant integer NOT NULL,
    version bigint NOT NULL,       -- of its last event
    recorded_at bigint NOT NULL,   -- of its last append
    first_at bigint NOT NULL,      -- the earliest and latest recorded_at of its appends:
    last_at bigint NOT NULL,       -- which partitions it stands in
    fork_version bigint,           -- a branch: it shares versions 0..fork_version with parent
    name text COLLATE "C" NOT NULL,
    category text COLLATE "C" NOT NULL,
    parent text COLLATE "C",
    PRIMARY KEY (tenant, name)
) WITH (fillfactor = 80);          -- a new version mostly finds room on its page
CREATE INDEX streams_category ON refold.streams (tenant, category, name);

CREATE TABLE refold.keys (         -- a key names one append for ever, in whatever partition it is
    tenant integer NOT NULL,
    part integer NOT NULL,         -- of an append to several streams, from 0
    count integer NOT NULL,
    position bigint NOT NULL,
    version bigint NOT NULL,
    recorded_at bigint NOT NULL,
    key text COLLATE "C" NOT NULL,
    stream text COLLATE "C" NOT NULL,
    digest bytea NOT NULL,         -- of the whole append
    PRIMARY KEY (tenant, key, part)
);

CREATE TABLE refold.tags (         -- which appends have which tags; branches did not happen
    tenant integer NOT NULL,
    count integer NOT NULL,
    last_position bigint NOT NULL, -- of the append's last event
    recorded_at bigint NOT NULL,
    tag text COLLATE "C" NOT NULL,
    types text[] COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, tag, last_position)
);

CREATE TABLE refold.snapshots (    -- a cache of folded states: may be emptied at any time
    tenant integer NOT NULL,
    version bigint NOT NULL,
    position bigint NOT NULL,
    occurred_to bigint NOT NULL,
    in_order integer NOT NULL,
    stream text COLLATE "C" NOT NULL,
    fold text COLLATE "C" NOT NULL,
    fingerprint text NOT NULL,
    state bytea NOT NULL,
    digest bytea NOT NULL,
    PRIMARY KEY (tenant, stream, fold, version)
);

CREATE FUNCTION refold.category_of(stream text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN split_part(split_part(stream, '-', 1), '~', 1)
    || CASE WHEN strpos(stream, '~') > 0 THEN '~' ELSE '' END;

CREATE FUNCTION refold.type_of(kind text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN regexp_replace(kind, '(.)\.v[1-9][0-9]{0,8}$', '\1');

CREATE FUNCTION refold.rfc3339(us bigint) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN to_char(
    timestamp 'epoch' + (us / 1000000) * interval '1 second' + (us % 1000000) * interval '1 microsecond',
    'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'
);

-- The events of an append: [kind, payload, occurred_at, metadata] each, numbered from 1.
CREATE FUNCTION refold.events_in(body json, OUT parts json[], OUT number bigint)
RETURNS SETOF record LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 2 AS $$
    SELECT ARRAY(SELECT json_array_elements(event.value)), event.number
    FROM json_array_elements(body) WITH ORDINALITY AS event (value, number)
$$;

-- Whether the body of an append has an event of any of the types over a number (from 1).
CREATE FUNCTION refold.holds_after(body json, of_types text[], number bigint) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT EXISTS (
        SELECT 1 FROM refold.events_in(body) AS event
        WHERE event.number > holds_after.number
            AND refold.type_of(event.parts[1] #>> '{}') = ANY (of_types)
    )
$$;

-- The tenant that a session looks at: its views show the log of one.
CREATE FUNCTION refold.tenant() RETURNS integer LANGUAGE sql STABLE PARALLEL SAFE
RETURN coalesce(nullif(current_setting('refold_session.tenant', true), ''), '0')::integer;

-- `->` reads all of a value's text, which may hold a NUL that PostgreSQL's cannot: so each event is
-- taken apart by json_array_elements, which does not.
CREATE VIEW refold.events AS
SELECT
    log.position + event.number - 1 AS position,
    log.stream AS stream,
    log.version + event.number - 1 AS version,
    log.stream || '@' || (log.version + event.number - 1) AS id,
    refold.category_of(log.stream) AS category,
    event.parts[1] #>> '{}' AS type,
    refold.rfc3339(coalesce(
        nullif(event.parts[3]::text, 'null')::bigint, log.clock_at, log.recorded_at
    )) AS occurred_at,
    refold.rfc3339(log.recorded_at) AS recorded_at,
    event.parts[2] AS data,
    CASE
        WHEN coalesce(log.metadata::text, '{}') = '{}'
            THEN coalesce(nullif(event.parts[4]::text, 'null'), '{}')::json
        WHEN coalesce(event.parts[4]::text, '{}') IN ('null', '{}') THEN log.metadata
        -- The event's own on top. json_each cannot read a NUL: then a name may stand twice, of which
        -- the last counts.
        WHEN strpos(concat(log.metadata, event.parts[4]), '\u0000') > 0
            THEN (left(log.metadata::text, -1) || ',' || substr(event.parts[4]::text, 2))::json
        ELSE (
            SELECT json_object_agg(said.key, said.value) FROM (
                SELECT shared.key, shared.value FROM json_each(log.metadata) AS shared
                WHERE shared.key NOT IN (SELECT json_object_keys(event.parts[4]))
                UNION ALL
                SELECT own.key, own.value FROM json_each(event.parts[4]) AS own
            ) AS said
        )
    END AS metadata,
    log.key AS key
FROM refold.log AS log
CROSS JOIN LATERAL refold.events_in(log.body) AS event
WHERE log.tenant = refold.tenant();
