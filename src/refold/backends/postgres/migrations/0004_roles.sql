-- Who may do what, and see which tenants. Nothing here is in force before `refold init --roles`
-- (roles.sql), which makes the roles, the policies and the triggers.

-- The logs that a login sees and appends to; one that is not here: tenant 0 alone.
CREATE TABLE refold.tenants (
    role regrole NOT NULL,
    tenant integer NOT NULL CHECK (tenant >= 0 AND tenant < 2147483647),
    PRIMARY KEY (role, tenant)
);

CREATE TABLE refold.settings (
    id boolean PRIMARY KEY DEFAULT true CHECK (id), -- the only row
    word uuid NOT NULL,            -- that the names of channels are made of, and nobody else knows
    prefix text,                   -- of the names of the roles; NULL: there are none
    clock_ahead_s bigint DEFAULT 3600 -- so far may a writer's clock be ahead; NULL: as it likes
);
INSERT INTO refold.settings (word) VALUES (gen_random_uuid());

-- The tenants of this session, by who logged in: neither SET nor SET ROLE changes that. Members of
-- the owner look after all of them.
CREATE FUNCTION refold.seen() RETURNS int4multirange LANGUAGE plpgsql STABLE PARALLEL SAFE
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    -- In this language, whose plans a session keeps: it is asked in each statement.
    owner oid := (SELECT c.relowner FROM pg_class AS c WHERE c.oid = 'refold.log'::regclass);
    found int4multirange;
BEGIN
    IF pg_has_role(session_user, owner, 'MEMBER')
        OR (SELECT s.prefix FROM refold.settings AS s) IS NULL THEN
        RETURN '{(,)}';
    END IF;
    SELECT range_agg(int4range(t.tenant, t.tenant + 1)) INTO found FROM refold.tenants AS t
    WHERE t.role = to_regrole(quote_ident(session_user));
    RETURN coalesce(found, '{[0,1)}');
END $$;

-- What the view events shows: the tenant that is asked for, else the first of the login's own.
CREATE OR REPLACE FUNCTION refold.tenant() RETURNS integer LANGUAGE sql STABLE PARALLEL SAFE
RETURN coalesce(
    nullif(current_setting('refold_session.tenant', true), '')::integer, lower(refold.seen()), 0
);

-- Whoever may connect may LISTEN to any name: so nobody can guess those of other tenants. Who appends
-- asks for the name alone, each time: to look at who asks takes ten times as long, and his rows are
-- refused where the tenant is not his.
CREATE OR REPLACE FUNCTION refold.channel_of(tenant integer) RETURNS text LANGUAGE plpgsql STABLE
AS $$
BEGIN
    RETURN 'refold_' || left(encode(sha256(convert_to(
        (SELECT s.word FROM refold.settings AS s) || ':' || tenant, 'UTF8'
    )), 'hex'), 32);
END $$;
CREATE OR REPLACE FUNCTION refold.channel(tenant integer) RETURNS text LANGUAGE plpgsql STABLE
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT tenant <@ refold.seen() THEN
        RAISE EXCEPTION 'tenant % is not of %', tenant, session_user
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN refold.listened(tenant);
END $$;

-- Forget commits that nobody looks for any more, of the oldest: none of the last day, nor of the
-- newest 10,000. A clock that is ahead lets it forget no more than that.
CREATE FUNCTION refold.forget_commits(of_tenant integer, oldest bigint) RETURNS void
LANGUAGE sql AS $$
    DELETE FROM refold.commits WHERE tenant = of_tenant AND after IN (
        SELECT after FROM (
            SELECT after, recorded_at FROM refold.commits WHERE tenant = of_tenant
            ORDER BY after LIMIT oldest
        ) AS first
        WHERE recorded_at < (
            SELECT recorded_at FROM refold.commits WHERE tenant = of_tenant
            ORDER BY after DESC LIMIT 1
        ) - 86400000000 -- a day
        AND after < (
            SELECT after FROM refold.commits WHERE tenant = of_tenant
            ORDER BY after DESC OFFSET 10000 LIMIT 1
        )
    )
$$;

-- make_partition as whoever appends needs it, though he owns nothing: no month long past or far
-- ahead, and few rows moved. The partition is guarded as the log is.
CREATE FUNCTION refold.make_month(at bigint, rows_max bigint) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    day bigint := 86400000000;
    now_at bigint := extract(epoch FROM clock_timestamp()) * 1000000;
    part text := to_char(timestamp 'epoch' + (at / 1000000) * interval '1 second', '"log_"YYYY_MM');
    is_there boolean := EXISTS (
        SELECT 1 FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'refold.log'::regclass AND c.relname = part
    );
BEGIN
    IF is_there THEN
        RETURN true;
    ELSIF refold.seen() <> '{(,)}' AND at NOT BETWEEN now_at - 400 * day AND now_at + 100 * day
        AND (SELECT s.clock_ahead_s FROM refold.settings AS s) IS NOT NULL THEN
        RETURN false;
    ELSIF NOT refold.make_partition(at, CASE
        WHEN refold.seen() = '{(,)}' THEN rows_max ELSE least(rows_max, 1000) END
    ) THEN
        RETURN false;
    END IF;
    PERFORM refold.guard(i.inhrelid) FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'refold.log'::regclass AND c.relname = part;
    RETURN true;
END $$;

-- Let who may read the log read a table or view, and nobody a tenant that is not his; does nothing
-- where there are no roles. Tables of projections are of the tenant of their schema (refold@7), or 0.
CREATE FUNCTION refold.guard(what regclass) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    prefix text := (SELECT s.prefix FROM refold.settings AS s);
    has_tenant boolean := EXISTS (
        SELECT 1 FROM pg_attribute WHERE attrelid = what AND attnum = 1 AND attname = 'tenant'
    );
    relation record;
BEGIN
    SELECT c.relname, c.relkind, c.relispartition, c.relrowsecurity, c.relforcerowsecurity,
        coalesce(nullif(split_part(n.nspname, '@', 2), ''), '0')::integer AS tenant
    INTO relation FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.oid = what;
    IF prefix IS NULL OR relation.relname IN ('tenants', 'settings') THEN
        RETURN;
    END IF;
    IF NOT relation.relispartition OR relation.relname = 'log_default' THEN
        EXECUTE format(
            'GRANT SELECT ON %s TO %I, %I', what, prefix || '_writer', prefix || '_reader'
        );
    END IF;
    IF relation.relkind NOT IN ('r', 'p')
        OR NOT (has_tenant OR relation.relname ~ '@|^refold_') THEN
        RETURN;
    END IF;
    IF NOT EXISTS (
        SELECT 1 FROM pg_policy WHERE polrelid = what AND polname = 'refold_tenant'
    ) THEN
        EXECUTE format(
            'CREATE POLICY refold_tenant ON %s USING (%s <@ (SELECT refold.seen()))', what,
            CASE WHEN has_tenant THEN 'tenant' ELSE relation.tenant::text END
        );
    END IF;
    IF NOT relation.relrowsecurity THEN
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', what);
    END IF;
    -- Functions of the owner are called by writers. What moves rows to a partition moves all.
    IF NOT (relation.relforcerowsecurity OR relation.relispartition) THEN
        EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', what);
    END IF;
END $$;

-- What one that keeps tables begins with: others wait, and what he makes is the owner's and stands
-- in the schema of its tenant. The first to come makes that.
CREATE FUNCTION refold.begin_tables(of_tenant integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    home text := (
        SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = 'refold.log'::regclass
    );
BEGIN
    PERFORM refold.take_turn(of_tenant, 'refold.streams'::regclass);
    PERFORM set_config('role', pg_get_userbyid(c.relowner), true) FROM pg_class AS c
    WHERE c.oid = 'refold.log'::regclass AND pg_get_userbyid(c.relowner) <> current_user
        AND pg_has_role(current_user, c.relowner, 'USAGE');
    PERFORM set_config('search_path', home || ', public', true),
        set_config('refold_session.tenant', of_tenant::text, true);
END $$;

-- Let who may read the log read what was made beside it.
CREATE FUNCTION refold.guard_tables() RETURNS void LANGUAGE sql AS $$
    SELECT refold.guard(c.oid) FROM pg_class AS c
    WHERE c.relnamespace = quote_ident(current_schema())::regnamespace AND c.relkind IN ('r', 'p', 'v')
        AND pg_get_userbyid(c.relowner) = current_user
$$;

-- What a writer had stored is looked at again: the function that appends is told by its caller where
-- things stand, and when. Whoever is a member of the owner may do as he likes. The log has many
-- partitions: a plan is made once a session, and not each time for those that are meant.
CREATE FUNCTION refold.refuse(why text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'an append says otherwise than the log: %', why
        USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE FUNCTION refold.is_text(name text) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN octet_length(name) BETWEEN 1 AND 255 AND name !~ '[[:cntrl:]]';

-- Where a writer says that the appends of a commit stand, and when they were recorded: side by side
-- behind the log, none before another, none in a month that is closed. So those that are stored are
-- those that are looked at below.
CREATE FUNCTION refold.check_places(
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
CREATE FUNCTION refold.is_nested(body text, levels_max integer) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    IF octet_length(body) - octet_length(translate(body, '[{', '')) <= levels_max THEN
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

-- The tags that metadata says, as JSON. In text no NUL can be; a tag that holds one is none.
CREATE FUNCTION refold.tags_in(metadata json) RETURNS json LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN replace(metadata::text, '\u0000', '\u0001')::json -> 'tags';

-- Whether something can be found by each of the tags that its metadata says.
CREATE FUNCTION refold.has_its_tags(of_tenant integer, metadata json, at bigint) RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
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

-- Positions, times, and that the columns say what the events say.
CREATE FUNCTION refold.check_commit() RETURNS trigger LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    ahead_us bigint := (SELECT s.clock_ahead_s FROM refold.settings AS s) * 1000000;
    latest bigint := extract(epoch FROM clock_timestamp()) * 1000000 + ahead_us;
    before_at bigint := (
        SELECT c.recorded_at FROM refold.commits AS c
        WHERE c.tenant = NEW.tenant AND c.after < NEW.after ORDER BY c.after DESC LIMIT 1
    );
    stored record;
    ends bigint := NEW.after;
    since bigint := CASE WHEN before_at IS NULL THEN 0 ELSE least(before_at, NEW.recorded_at) END;
BEGIN
    IF NEW.recorded_at > latest OR NEW.recorded_at < before_at AND ahead_us IS NOT NULL THEN
        PERFORM refold.refuse('its time, or the clock is far ahead of that of the server');
    END IF;
    FOR stored IN
        SELECT a.*, said.* FROM refold.log AS a CROSS JOIN LATERAL (
            SELECT
                count(*) AS number, array_agg(DISTINCT e.type ORDER BY e.type) AS of_types,
                min(e.at) AS first_at, max(e.at) AS last_at, bool_and(e.is_right) AS are_right
            FROM (
                SELECT
                    refold.type_of(one.parts[1] #>> '{}') COLLATE "C" AS type,
                    coalesce(
                        nullif(one.parts[3]::text, 'null')::bigint, a.clock_at, a.recorded_at
                    ) AS at,
                    cardinality(one.parts) BETWEEN 2 AND 4 AND json_typeof(one.parts[1]) = 'string'
                        AND refold.is_text(one.parts[1] #>> '{}')
                        AND coalesce(json_typeof(one.parts[4]), 'null') IN ('object', 'null')
                        AS is_right
                FROM refold.events_in(a.body) AS one
            ) AS e
        ) AS said
        WHERE a.tenant = NEW.tenant AND a.position > NEW.after
            AND a.recorded_at BETWEEN since AND NEW.recorded_at
        ORDER BY a.position
    LOOP
        IF stored.recorded_at < since THEN
            PERFORM refold.refuse('its times');
        END IF;
        since := stored.recorded_at;
        IF stored.position <> ends + 1 OR stored.count <> stored.number OR stored.count < 1 THEN
            PERFORM refold.refuse('its positions');
        ELSIF stored.types IS DISTINCT FROM stored.of_types OR NOT stored.are_right
            OR json_typeof(coalesce(stored.metadata, '{}')) <> 'object' THEN
            PERFORM refold.refuse('its events');
        ELSIF strpos(stored.stream, '~') = 0 AND NOT refold.has_its_tags(
            NEW.tenant, stored.metadata, ends + stored.count
        ) THEN
            PERFORM refold.refuse('its tags');
        ELSIF refold.is_nested(concat(stored.body, stored.metadata), 500) THEN
            PERFORM refold.refuse('how deep it is nested');
        ELSIF coalesce(stored.occurred_from, stored.recorded_at) <> stored.first_at
            OR coalesce(stored.occurred_to, stored.recorded_at) <> stored.last_at
            OR stored.first_at < 0 OR stored.last_at > 253402300799999999
            OR stored.clock_at > latest THEN
            PERFORM refold.refuse('the times of its events');
        END IF;
        ends := ends + stored.count;
    END LOOP;
    IF ends <> NEW.last OR ends = NEW.after THEN
        PERFORM refold.refuse('where it ends');
    END IF;
    RETURN NEW;
END $$;

-- Versions: those of a stream go on where it ended, of a branch where it left another.
CREATE FUNCTION refold.check_stream() RETURNS trigger LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    ends bigint := coalesce(NEW.fork_version, -1);
    starts bigint := CASE TG_OP WHEN 'UPDATE' THEN least(OLD.recorded_at, NEW.recorded_at)
        ELSE NEW.first_at END;
    stored record;
BEGIN
    IF NOT refold.is_text(NEW.name) THEN
        PERFORM refold.refuse('its name');
    ELSIF TG_OP = 'UPDATE' THEN
        ends := OLD.version;
    ELSIF (NEW.parent IS NULL) <> (NEW.fork_version IS NULL) OR NEW.fork_version < -1 OR (
        NEW.parent IS NOT NULL AND NOT EXISTS (
            SELECT 1 FROM refold.streams AS s WHERE s.tenant = NEW.tenant
                AND s.name = NEW.parent AND s.version >= greatest(NEW.fork_version, 0)
        )
    ) THEN
        PERFORM refold.refuse('what it branches from');
    END IF;
    FOR stored IN
        SELECT a.version, a.count FROM refold.log AS a
        WHERE a.tenant = NEW.tenant AND a.stream = NEW.name
            AND a.recorded_at BETWEEN starts AND NEW.recorded_at AND a.position > coalesce((
                SELECT c.last FROM refold.commits AS c WHERE c.tenant = NEW.tenant
                ORDER BY c.after DESC LIMIT 1
            ), 0)
        ORDER BY a.position
    LOOP
        IF stored.version <> ends + 1 THEN
            PERFORM refold.refuse('its versions');
        END IF;
        ends := ends + stored.count;
    END LOOP;
    IF ends <> NEW.version THEN
        PERFORM refold.refuse('where its stream ends');
    END IF;
    RETURN NEW;
END $$;

-- Keys: nothing is added to what stands under one.
CREATE FUNCTION refold.check_key() RETURNS trigger LANGUAGE plpgsql
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
CREATE FUNCTION refold.check_tag() RETURNS trigger LANGUAGE plpgsql
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
