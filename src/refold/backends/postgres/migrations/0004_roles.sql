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
-- the owner, as whom this runs, look after all of them. It is asked in each statement: so it takes one
-- look at most, in this language, whose plans a session keeps.
CREATE FUNCTION refold.seen() RETURNS int4multirange LANGUAGE plpgsql STABLE PARALLEL SAFE
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF pg_has_role(session_user, current_user, 'MEMBER') THEN
        RETURN '{(,)}';
    END IF;
    RETURN (
        SELECT CASE WHEN s.prefix IS NULL THEN '{(,)}' ELSE coalesce((
            SELECT range_agg(int4range(t.tenant, t.tenant + 1)) FROM refold.tenants AS t
            WHERE t.role = to_regrole(quote_ident(session_user))
        ), '{[0,1)}') END
        FROM refold.settings AS s
    );
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
