-- A room for what projections make of a tenant's log: a schema of its own beside that of all logs,
-- such as "refold@7". Tables of projections have no tenant; those of tenant 0 stand where they stood.

CREATE FUNCTION refold.is_shown(of_tenant integer) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF refold.tenant() <> of_tenant THEN
        RAISE EXCEPTION 'these are the events of tenant %, and this session looks at tenant %',
            of_tenant, refold.tenant()
            USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = format('SET refold_session.tenant = %L', of_tenant);
    END IF;
    RETURN true;
END $$;

-- The schema in which tables of a tenant stand, made where it is missing, by who may make one.
CREATE FUNCTION refold.make_room(of_tenant integer) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    home text;
    room text;
    owner text;
    prefix text;
    caller text := current_setting('role');
BEGIN
    SELECT n.nspname, pg_get_userbyid(c.relowner) INTO home, owner
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.oid = 'refold.log'::regclass;
    IF of_tenant = 0 THEN
        RETURN home;
    END IF;
    room := home || '@' || of_tenant;
    IF to_regnamespace(quote_ident(room)) IS NOT NULL THEN
        RETURN room;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended(room, 0)); -- Two may come at once.
    -- Read anew: to_regnamespace would answer from what this session found before it waited.
    IF EXISTS (SELECT FROM pg_namespace AS n WHERE n.nspname = room) THEN
        RETURN room;
    END IF;
    IF pg_has_role(current_user, owner, 'USAGE') THEN
        EXECUTE format('CREATE SCHEMA %I AUTHORIZATION %I', room, owner);
        PERFORM set_config('role', owner, true);
    ELSE
        EXECUTE format('CREATE SCHEMA %I', room);
    END IF;
    EXECUTE format(
        'CREATE VIEW %I.events AS SELECT * FROM refold.events WHERE refold.is_shown(%s)', room,
        of_tenant
    );
    EXECUTE format(
        'CREATE AGGREGATE %I.sum(boolean) (SFUNC = refold.add_bit, STYPE = bigint)', room
    );
    prefix := (SELECT s.prefix FROM refold.settings AS s);
    IF prefix IS NOT NULL THEN
        EXECUTE format(
            'GRANT USAGE ON SCHEMA %I TO %I, %I', room, prefix || '_writer', prefix || '_reader'
        );
        PERFORM refold.guard(format('%I.events', room)::regclass);
    END IF;
    PERFORM set_config('role', caller, true);
    RETURN room;
END $$;

-- Whoever binds a login to a tenant makes its schema too, where he may.
CREATE FUNCTION refold.make_its_room() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM refold.make_room(NEW.tenant);
    RETURN NEW;
EXCEPTION WHEN insufficient_privilege THEN
    RAISE WARNING 'tenant % has no schema for its view events and its read models: who may CREATE '
        'in this database makes it by SELECT refold.make_room(%)', NEW.tenant, NEW.tenant;
    RETURN NEW;
END $$;
CREATE TRIGGER room AFTER INSERT ON refold.tenants
FOR EACH ROW EXECUTE FUNCTION refold.make_its_room();

CREATE OR REPLACE FUNCTION refold.begin_tables(of_tenant integer) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    room text;
BEGIN
    PERFORM refold.take_turn(of_tenant, 'refold.streams'::regclass);
    room := refold.make_room(of_tenant);
    PERFORM set_config('role', pg_get_userbyid(c.relowner), true) FROM pg_class AS c
    WHERE c.oid = 'refold.log'::regclass AND pg_get_userbyid(c.relowner) <> current_user
        AND pg_has_role(current_user, c.relowner, 'USAGE');
    PERFORM set_config('search_path', quote_ident(room) || ', public', true),
        set_config('refold_session.tenant', of_tenant::text, true);
END $$;
