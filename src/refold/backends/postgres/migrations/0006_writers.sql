-- What a writer had stored is looked at again: the functions that append are told by their caller what
-- to store, where things stand, and when. Whoever is a member of the owner may do as he likes. A plan is
-- made once a session, and not each time for the partitions that are meant.

CREATE OR REPLACE FUNCTION refold.refuse(why text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'an append says otherwise than the log: %', why
        USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE OR REPLACE FUNCTION refold.is_text(name text) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN octet_length(name) BETWEEN 1 AND 255 AND name !~ '[[:cntrl:]]';

-- Where a writer says that the appends of a commit stand, and when they were recorded: side by side
-- behind the log, none before another, none in a month that is closed. So those that are stored are
-- those that are looked at below.
CREATE OR REPLACE FUNCTION refold.check_places(
    offsets bigint[], counts bigint[], times bigint[], last_at bigint
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    first_at bigint := (SELECT min(t.at) FROM unnest(times) AS t (at));
    ends_at bigint := (SELECT max(t.at) FROM unnest(times) AS t (at));
BEGIN
    IF EXISTS (
        SELECT 1 FROM (
            SELECT o.place, o.count, sum(o.count) OVER (ORDER BY o.number) - o.count AS due
            FROM unnest(offsets, counts) WITH ORDINALITY AS o (place, count, number)
        ) AS told WHERE told.count < 1 OR told.place <> told.due
    ) THEN
        PERFORM refold.refuse('its positions');
    END IF;
    IF times IS NULL THEN
        RETURN;
    END IF;
    -- The last is that of the commit. An array may begin at another number than 1.
    IF cardinality(times) <> cardinality(offsets)
        OR times[cardinality(times)] IS DISTINCT FROM ends_at
        OR first_at < last_at AND first_at < ends_at
        OR first_at < (SELECT max(m.ends) FROM refold.months AS m)
        OR EXISTS (
            SELECT 1 FROM (
                SELECT t.at, lag(t.at) OVER (ORDER BY t.number) AS before
                FROM unnest(times) WITH ORDINALITY AS t (at, number)
            ) AS told WHERE told.at IS NULL OR told.at < told.before
        ) THEN
        PERFORM refold.refuse('its times');
    END IF;
END $$;

-- Whether a text of JSON may be nested deeper than that: the brackets outside of its strings tell.
CREATE OR REPLACE FUNCTION refold.is_nested(body text, levels_max integer) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    -- (As many calls of `replace` take a thirtieth of the time of one of `translate`.)
    IF octet_length(body) - octet_length(replace(replace(body, '[', ''), '{', '')) <= levels_max THEN
        RETURN false;
    END IF;
    RETURN (
        SELECT max(open.levels) > levels_max FROM (
            SELECT sum(CASE WHEN b.mark IN ('[', '{') THEN 1 ELSE -1 END) OVER (ORDER BY b.number)
                AS levels
            FROM string_to_table(regexp_replace(
                regexp_replace(body, '"(\\.|[^"\\])*"', '', 'g'), '[^][{}]', '', 'g'
            ), NULL) WITH ORDINALITY AS b (mark, number)
        ) AS open
    );
END $$;

-- Whether a text of JSON holds half a surrogate, which JSON has and Unicode has not: no reader takes it.
CREATE OR REPLACE FUNCTION refold.is_torn(body text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $$
BEGIN
    IF strpos(body, '\u') = 0 OR body !~* '\\ud[89a-f]' THEN
        RETURN false;
    END IF;
    -- Of backslashes two are one; what is left of two halves side by side is no half.
    RETURN regexp_replace(
        replace(body, '\\', '..'), '\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}', '..', 'gi'
    ) ~* '\\ud[89a-f]';
END $$;

-- Whether a text of JSON holds a number that no reader takes: a whole one of over 4,300 characters, or
-- one beyond the largest double.
CREATE OR REPLACE FUNCTION refold.is_endless(body text) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    number text;
BEGIN
    -- The first look is quick, and sees some in texts too.
    IF body !~ '\d([\d.]{199}|[eE][+-]?\d{3})'
        OR body !~ '[,:[\s-]\d([\d.]{199}|[\d.]*[eE][+-]?\d{3})' THEN
        RETURN false;
    END IF;
    -- Outside of strings a digit begins a number.
    FOR number IN
        SELECT (regexp_matches(
            regexp_replace(body, '"(\\.|[^"\\])*"', '', 'g'), '-?\d[\d.eE+-]*', 'g'
        ))[1]
    LOOP
        IF number !~ '[.eE]' THEN
            CONTINUE WHEN length(number) <= 4300;
            RETURN true;
        END IF;
        BEGIN
            PERFORM number::double precision;
        EXCEPTION WHEN numeric_value_out_of_range THEN
            -- Too small is zero.
            IF (CASE
                WHEN number ~ '[eE]-0*[1-9]\d{4}' THEN length(number) > 10000
                WHEN number ~ '[eE]\+?0*[1-9]\d{4}' THEN true
                ELSE abs(number::numeric) > 1
            END) THEN
                RETURN true;
            END IF;
        END;
    END LOOP;
    RETURN false;
END $$;

-- The tags that metadata says, as JSON. In text no NUL can be; a tag that holds one is none.
CREATE OR REPLACE FUNCTION refold.tags_in(metadata json) RETURNS json
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN replace(metadata::text, '\u0000', '\u0001')::json -> 'tags';

-- Whether something can be found by each of the tags that its metadata says.
CREATE OR REPLACE FUNCTION refold.has_its_tags(of_tenant integer, metadata json, at bigint)
RETURNS boolean LANGUAGE plpgsql STABLE AS $$
DECLARE
    said json := refold.tags_in(metadata);
BEGIN
    IF coalesce(json_typeof(said), 'null') <> 'array' THEN
        RETURN coalesce(json_typeof(said), 'null') = 'null';
    END IF;
    RETURN NOT EXISTS (
        SELECT 1 FROM json_array_elements_text(said) AS one (tag) WHERE NOT EXISTS (
            SELECT 1 FROM refold.tags AS t
            WHERE t.tenant = of_tenant AND t.tag = one.tag AND t.last_position = at
        )
    );
END $$;

-- What the events of a body say; those that do not say when they were are of `now_at`. A plan is made
-- here, and not where it would be made each time, as of tables that are there for one call. Each OFFSET
-- keeps an event from being taken apart again for each mention of a part of it; what is said of a kind
-- is looked at once.
CREATE OR REPLACE FUNCTION refold.said_in(
    body json, now_at bigint, OUT number bigint, OUT types text[], OUT first_at bigint,
    OUT last_at bigint, OUT are_right boolean
) LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
BEGIN
    SELECT
        coalesce(sum(k.number), 0), array_agg(DISTINCT refold.type_of(k.kind) COLLATE "C"),
        min(k.first_at), max(k.last_at), bool_and(k.are_right AND refold.is_text(k.kind))
    INTO number, types, first_at, last_at, are_right FROM (
        SELECT
            e.kind, count(*) AS number, min(e.at) AS first_at, max(e.at) AS last_at,
            bool_and(e.is_right) AS are_right
        FROM (
            SELECT
                (one.parts[1] #>> '{}') COLLATE "C" AS kind,
                coalesce(nullif(one.parts[3]::text, 'null')::bigint, now_at) AS at,
                cardinality(one.parts) BETWEEN 2 AND 4 AND json_typeof(one.parts[1]) = 'string'
                    AND octet_length(one.parts[2]::text) <= 8388608
                    AND coalesce(json_typeof(one.parts[4]), 'null') IN ('object', 'null') AS is_right
            FROM (SELECT i.parts FROM refold.events_in(body) AS i OFFSET 0) AS one OFFSET 0
        ) AS e GROUP BY e.kind
    ) AS k;
END $$;

-- Of the appends of a commit, before anything else of it is stored: that they stand behind the log and
-- their streams, were recorded when they may have been, and that the columns say what the events say.
CREATE OR REPLACE FUNCTION refold.check_appends() RETURNS trigger LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET jit = off AS $$
DECLARE
    ahead_us bigint;
    latest bigint;
    ends bigint;
    since bigint;
    due bigint;
    appends integer := 0;
    is_next boolean;
    has_tags boolean := false;
    stored record;
    said record;
BEGIN
    FOR stored IN
        SELECT
            a.*, concat(a.body, a.metadata) AS text, octet_length(a.body::text) AS body_bytes
        FROM added AS a ORDER BY a.position
    LOOP
        IF ends IS NULL THEN
            SELECT s.clock_ahead_s * 1000000, coalesce(c.last, 0), c.recorded_at
            INTO ahead_us, ends, since
            FROM refold.settings AS s LEFT JOIN LATERAL (
                SELECT c.last, c.recorded_at FROM refold.commits AS c
                WHERE c.tenant = stored.tenant ORDER BY c.after DESC LIMIT 1
            ) AS c ON true;
            latest := extract(epoch FROM clock_timestamp()) * 1000000 + ahead_us;
            -- Where clocks say what they like one that was wrong is set right, by one time for all.
            IF ahead_us IS NULL AND (SELECT max(a.recorded_at) FROM added AS a) < since THEN
                since := (SELECT max(a.recorded_at) FROM added AS a);
            END IF;
        END IF;
        appends := appends + 1;
        -- Where a new branch begins is looked at when it is known from where.
        due := coalesce((
            SELECT s.version + 1 FROM refold.streams AS s
            WHERE s.tenant = stored.tenant AND s.name = stored.stream
        ), CASE WHEN strpos(stored.stream, '~') = 0 THEN 0 ELSE stored.version END);
        is_next := stored.version = due;
        said := refold.said_in(stored.body, coalesce(stored.clock_at, stored.recorded_at));
        IF stored.stream = 'refold-privacy' THEN
            RAISE EXCEPTION 'what is decided about personal data, as that a hold ends, a maintainer '
                'records in %', stored.stream USING ERRCODE = 'insufficient_privilege';
        ELSIF stored.recorded_at < since OR stored.recorded_at > latest THEN
            PERFORM refold.refuse('its time, or the clock is far ahead of that of the server');
        ELSIF stored.position <> ends + 1 OR stored.count <> said.number
            OR stored.count NOT BETWEEN 1 AND 10000 THEN
            PERFORM refold.refuse('its positions');
        ELSIF stored.types IS DISTINCT FROM said.types OR NOT said.are_right
            OR json_typeof(coalesce(stored.metadata, '{}')) <> 'object' THEN
            PERFORM refold.refuse('its events');
        ELSIF stored.body_bytes > 134217728
            OR octet_length(stored.text) - stored.body_bytes > 8388608 THEN
            PERFORM refold.refuse('how large it is');
        ELSIF refold.is_nested(stored.text, 500) THEN
            PERFORM refold.refuse('how deep it is nested');
        ELSIF refold.is_torn(stored.text) THEN
            PERFORM refold.refuse('its text');
        ELSIF refold.is_endless(stored.text) THEN
            PERFORM refold.refuse('a number of it');
        ELSIF stored.key !~ '^[^\x01-\x1f]+(\x1f[1-9][0-9]{0,2})?$' THEN
            PERFORM refold.refuse('its key');
        ELSIF coalesce(stored.occurred_from, stored.recorded_at) <> said.first_at
            OR coalesce(stored.occurred_to, stored.recorded_at) <> said.last_at
            OR said.first_at < 0 OR said.last_at > 253402300799999999
            OR stored.clock_at > latest THEN
            PERFORM refold.refuse('the times of its events');
        END IF;
        ends := stored.position + stored.count - 1;
        since := stored.recorded_at;
        has_tags := has_tags OR refold.tags_in(stored.metadata) IS NOT NULL;
    END LOOP;
    -- Of several of one stream each follows the one before.
    IF appends = 1 AND NOT is_next OR appends > 1 AND EXISTS (
        SELECT 1 FROM (
            SELECT
                a.tenant, a.stream, a.version,
                lag(a.version + a.count) OVER (PARTITION BY a.stream ORDER BY a.position) AS due
            FROM added AS a
        ) AS a WHERE a.version <> coalesce(a.due, (
            SELECT s.version + 1 FROM refold.streams AS s
            WHERE s.tenant = a.tenant AND s.name = a.stream
        ), CASE WHEN strpos(a.stream, '~') = 0 THEN 0 ELSE a.version END)
    ) THEN
        PERFORM refold.refuse('its versions');
    END IF;
    PERFORM set_config('refold_session.stored', json_build_object(
        'ends', ends || '@' || since, 'has_tags', has_tags,
        'since', CASE WHEN has_tags THEN (SELECT min(a.recorded_at) FROM added AS a) END
    )::text, true);
    RETURN NULL;
END $$;

-- That a commit is of those appends, and that they are found by all of their tags.
CREATE OR REPLACE FUNCTION refold.check_commit() RETURNS trigger LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    -- As check_appends has left it, in this same call.
    stored json := current_setting('refold_session.stored');
BEGIN
    IF stored ->> 'ends' IS DISTINCT FROM NEW.last || '@' || NEW.recorded_at THEN
        PERFORM refold.refuse('where it ends');
    ELSIF (stored ->> 'has_tags')::boolean AND EXISTS (
        SELECT 1 FROM refold.log AS a WHERE a.tenant = NEW.tenant AND a.position > NEW.after
            AND a.recorded_at BETWEEN (stored ->> 'since')::bigint AND NEW.recorded_at
            AND strpos(a.stream, '~') = 0
            AND NOT refold.has_its_tags(a.tenant, a.metadata, a.position + a.count - 1)
    ) THEN
        PERFORM refold.refuse('its tags');
    END IF;
    RETURN NULL;
END $$;

-- A new stream: its name, and of a branch what it leaves and where it begins.
CREATE OR REPLACE FUNCTION refold.check_stream() RETURNS trigger LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    parent refold.streams;
BEGIN
    IF NOT refold.is_text(NEW.name) THEN
        PERFORM refold.refuse('its name');
    ELSIF strpos(NEW.name, '~') = 0 AND NEW.parent IS NULL AND NEW.fork_version IS NULL THEN
        RETURN NULL;
    END IF;
    SELECT * INTO parent FROM refold.streams AS s WHERE s.tenant = NEW.tenant AND s.name = NEW.parent;
    IF (NEW.parent IS NULL) <> (NEW.fork_version IS NULL) OR NEW.fork_version < -1
        OR NEW.parent IS NOT NULL AND (
            strpos(NEW.name, '~') = 0 OR parent.name IS NULL
            OR parent.version < greatest(NEW.fork_version, 0)
            -- What it leaves was there before it: nothing branches from itself in the end.
            OR (
                SELECT min(a.position) FROM refold.log AS a WHERE a.tenant = NEW.tenant
                    AND a.stream = NEW.parent
                    AND a.recorded_at BETWEEN parent.first_at AND NEW.last_at
            ) >= (
                SELECT min(a.position) FROM refold.log AS a WHERE a.tenant = NEW.tenant
                    AND a.stream = NEW.name
                    AND a.recorded_at BETWEEN NEW.first_at AND NEW.last_at
            )
        ) THEN
        PERFORM refold.refuse('what it branches from');
    ELSIF (
        SELECT min(a.version) FROM refold.log AS a WHERE a.tenant = NEW.tenant
            AND a.stream = NEW.name AND a.recorded_at BETWEEN NEW.first_at AND NEW.last_at
    ) <> coalesce(NEW.fork_version, -1) + 1 THEN
        PERFORM refold.refuse('its versions');
    END IF;
    RETURN NULL;
END $$;

-- Keys: nothing is added to what stands under one.
CREATE OR REPLACE FUNCTION refold.check_key() RETURNS trigger LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    IF NOT refold.is_text(NEW.key) OR NEW.part < 0 OR NEW.part > 0 AND NOT EXISTS (
        SELECT 1 FROM refold.keys AS k
        WHERE k.tenant = NEW.tenant AND k.key = NEW.key AND k.part = NEW.part - 1
            AND k.position + k.count = NEW.position AND k.digest = NEW.digest
    ) THEN
        PERFORM refold.refuse('its key');
    END IF;
    RETURN NEW;
END $$;

-- What may be found by tags is what metadata says.
CREATE OR REPLACE FUNCTION refold.check_tag() RETURNS trigger LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    IF NOT EXISTS (
        SELECT 1 FROM refold.log AS l
        WHERE l.tenant = NEW.tenant AND l.position = NEW.last_position - NEW.count + 1
            AND l.recorded_at = NEW.recorded_at AND l.types = NEW.types
            AND NEW.tag IN (SELECT json_array_elements_text(refold.tags_in(l.metadata)))
    ) THEN
        PERFORM refold.refuse('its tags');
    END IF;
    RETURN NEW;
END $$;
