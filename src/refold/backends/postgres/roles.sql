-- Who may do what: three groups that logins are made members of. May be run again at any time, and
-- is after each migration. {prefix}: what their names begin with; {schema}: where the store stands;
-- {meant}: whether somebody chose that prefix, or it is what they begin with unless one does.
DO $roles$
DECLARE
    maintainer text := '{prefix}_maintainer';
    one record;
BEGIN
    IF (SELECT s.prefix FROM refold.settings AS s) <> '{prefix}' THEN
        RAISE EXCEPTION 'the roles of {schema} are called %_writer, not {prefix}_writer',
            (SELECT s.prefix FROM refold.settings AS s) USING ERRCODE = 'insufficient_privilege';
    END IF;
    -- Groups are of the whole server: those of another store would have all of this one.
    IF NOT {meant} AND (SELECT s.prefix FROM refold.settings AS s) IS NULL AND EXISTS (
        SELECT 1 FROM pg_roles
        WHERE rolname IN ('{prefix}_writer', '{prefix}_reader', '{prefix}_maintainer')
    ) THEN
        RAISE EXCEPTION 'there are roles of that name already, as of another store, and what they '
            'may there they would here (% are members): give --prefix, another name or {prefix}',
            (
                SELECT coalesce(string_agg(DISTINCT m.member::regrole::text, ', '), 'none')
                FROM pg_auth_members AS m WHERE m.roleid IN (
                    SELECT r.oid FROM pg_roles AS r WHERE r.rolname
                        IN ('{prefix}_writer', '{prefix}_reader', '{prefix}_maintainer')
                )
            ) USING ERRCODE = 'insufficient_privilege';
    END IF;
    -- Where everybody may make a function there, he makes one that others run unasked.
    IF EXISTS (
        SELECT 1 FROM pg_namespace AS n, aclexplode(n.nspacl) AS may
        WHERE n.nspname = 'public' AND may.grantee = 0 AND may.privilege_type = 'CREATE'
    ) THEN
        IF NOT pg_has_role(current_user, (
            SELECT n.nspowner FROM pg_namespace AS n WHERE n.nspname = 'public'
        ), 'USAGE') THEN
            RAISE EXCEPTION 'everybody may CREATE in the schema public: its owner is to '
                'REVOKE CREATE ON SCHEMA public FROM PUBLIC first'
                USING ERRCODE = 'insufficient_privilege';
        END IF;
        REVOKE CREATE ON SCHEMA public FROM PUBLIC;
    END IF;
    FOR one IN
        SELECT '{prefix}_' || name AS name FROM unnest(ARRAY['writer', 'reader', 'maintainer']) AS name
    LOOP
        IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = one.name) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', one.name);
        END IF;
    END LOOP;
    -- To give him what is here, and to go on looking after it, one must be a member.
    IF NOT pg_has_role(current_user, maintainer, 'USAGE') THEN
        EXECUTE format('GRANT %I TO CURRENT_USER', maintainer);
    END IF;

    -- All of it is the maintainers': whoever of them made it.
    FOR one IN
        SELECT nspname, pg_get_userbyid(nspowner) AS owner FROM pg_namespace
        WHERE nspname = '{schema}' OR nspname LIKE replace('{schema}', '_', '\_') || '@%'
    LOOP
        IF one.owner = maintainer THEN
            CONTINUE;
        ELSIF pg_has_role(current_user, one.owner, 'USAGE')
            AND has_database_privilege(current_database(), 'CREATE') THEN
            EXECUTE format('ALTER SCHEMA %I OWNER TO %I', one.nspname, maintainer);
        ELSE
            EXECUTE format(
                'GRANT USAGE, CREATE ON SCHEMA %I TO %I WITH GRANT OPTION', one.nspname, maintainer
            );
        END IF;
    END LOOP;
    IF has_database_privilege(current_database(), 'CREATE WITH GRANT OPTION') THEN
        EXECUTE format('GRANT CREATE ON DATABASE %I TO %I', current_database(), maintainer);
    END IF;
    FOR one IN
        SELECT
            format('%I.%I', n.nspname, c.relname) AS name,
            CASE c.relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END AS kind
        FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE (n.nspname = '{schema}' OR n.nspname LIKE replace('{schema}', '_', '\_') || '@%')
            AND c.relkind IN ('r', 'p', 'v') AND pg_get_userbyid(c.relowner) <> maintainer
        UNION ALL
        SELECT p.oid::regprocedure::text, 'ROUTINE'
        FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
        WHERE (n.nspname = '{schema}' OR n.nspname LIKE replace('{schema}', '_', '\_') || '@%')
            AND pg_get_userbyid(p.proowner) <> maintainer
    LOOP
        EXECUTE format('ALTER %s %s OWNER TO %I', one.kind, one.name, maintainer);
    END LOOP;
END $roles$;

DO $grants$
DECLARE
    writer text := '{prefix}_writer';
    reader text := '{prefix}_reader';
    one record;
BEGIN
    PERFORM set_config('role', '{prefix}_maintainer', true);
    UPDATE refold.settings SET prefix = '{prefix}' WHERE prefix IS NULL;
    FOR one IN
        SELECT nspname FROM pg_namespace
        WHERE nspname = '{schema}' OR nspname LIKE replace('{schema}', '_', '\_') || '@%'
    LOOP
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I, %I', one.nspname, writer, reader);
        EXECUTE format('REVOKE ALL ON ALL ROUTINES IN SCHEMA %I FROM PUBLIC', one.nspname);
        EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA %I FROM PUBLIC', one.nspname);
    END LOOP;
    FOR one IN
        SELECT
            p.oid::regprocedure AS name, p.proname, p.provolatile <> 'v' AS only_reads,
            (SELECT l.lanname FROM pg_language AS l WHERE l.oid = p.prolang) AS language
        FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
        WHERE n.nspname = '{schema}' OR n.nspname LIKE replace('{schema}', '_', '\_') || '@%'
    LOOP
        -- What a writer does goes through these alone. They run as their owner, and find what they
        -- name in no schema of their caller.
        IF one.proname IN ('append', 'append_one', 'forget_commits', 'make_month') THEN
            EXECUTE format(
                'ALTER FUNCTION %s SECURITY DEFINER SET search_path = pg_catalog, pg_temp', one.name
            );
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', one.name, writer);
        ELSIF one.proname IN ('take_turn', 'commit_waits', 'lasts') THEN
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', one.name, writer);
        ELSIF one.only_reads OR one.proname = 'found_after' THEN
            EXECUTE format('GRANT EXECUTE ON ROUTINE %s TO %I, %I', one.name, writer, reader);
        END IF;
        -- Nor do those that a maintainer calls, but the one that sets his schemas.
        IF one.language = 'plpgsql' AND one.proname <> 'begin_tables' THEN
            EXECUTE format('ALTER FUNCTION %s SET search_path = pg_catalog, pg_temp', one.name);
        END IF;
    END LOOP;
    -- Tables, and whose rows of them may be seen.
    PERFORM refold.guard(c.oid) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE (n.nspname = '{schema}' OR n.nspname LIKE replace('{schema}', '_', '\_') || '@%')
        AND c.relkind IN ('r', 'p', 'v');
    -- What a writer had stored is looked at again.
    FOR one IN
        SELECT name, (
            SELECT tgenabled FROM pg_trigger WHERE tgname = 'refold_writer'
                AND tgrelid = format('%I.%I', '{schema}', name)::regclass
        ) AS state
        FROM unnest(ARRAY['log', 'commits', 'streams', 'keys', 'tags']) AS name
    LOOP
        IF one.state IS NULL THEN
            EXECUTE format(
                'CREATE TRIGGER refold_writer AFTER INSERT ON refold.%I %s '
                'WHEN (NOT pg_has_role(session_user, current_user, %L)) '
                'EXECUTE FUNCTION refold.check_%s()', one.name,
                CASE one.name WHEN 'log' THEN 'REFERENCING NEW TABLE AS added FOR EACH STATEMENT'
                    ELSE 'FOR EACH ROW' END,
                'MEMBER', CASE one.name WHEN 'log' THEN 'appends' ELSE left(one.name, -1) END
            );
        ELSIF one.state NOT IN ('O', 'A') THEN
            EXECUTE format('ALTER TABLE refold.%I ENABLE TRIGGER refold_writer', one.name);
        END IF;
    END LOOP;
END $grants$;
