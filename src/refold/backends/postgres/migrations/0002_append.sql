-- What writes. Appends take turns from here to their commit: so positions are dense, and whoever
-- sees one sees all before it. A lock of a transaction is let go of after its rows can be seen.
CREATE FUNCTION refold.take_turn(tenant integer, what regclass) RETURNS boolean LANGUAGE plpgsql
AS $$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'a writer of refold runs at READ COMMITTED: it must see what came before it'
            USING ERRCODE = 'invalid_transaction_state';
    END IF;
    -- An expression, as where this is called: a statement of its own takes longer.
    RETURN set_config('lock_timeout', '10s', true) IS NOT NULL
        AND pg_advisory_xact_lock((what::oid::bigint << 32) | tenant) IS NOT NULL;
END $$;

CREATE FUNCTION refold.channel_of(tenant integer) RETURNS text LANGUAGE sql STABLE
RETURN 'refold_' || 'refold.log'::regclass::oid || '_' || tenant;
CREATE FUNCTION refold.channel(tenant integer) RETURNS text LANGUAGE sql STABLE
RETURN refold.channel_of(tenant);

-- The channel of a tenant, for a session that counts as listening from now on: it shares a lock, for
-- which it waits until a commit that is under way has ended. It then sees what that has stored, and
-- has to look once before it waits for what it hears.
CREATE FUNCTION refold.listened(tenant integer) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_lock_shared(('refold.commits'::regclass::oid::bigint << 32) | tenant);
    RETURN refold.channel_of(tenant);
END $$;
CREATE FUNCTION refold.has_listeners(tenant integer) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    RETURN NOT pg_try_advisory_xact_lock(('refold.commits'::regclass::oid::bigint << 32) | tenant);
END $$;

-- Whether a commit waits until it lasts: on disk, and on synchronous standbys as the server is set.
CREATE FUNCTION refold.commit_waits(durable boolean) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF NOT durable THEN
        PERFORM set_config('synchronous_commit', 'off', true);
    ELSIF current_setting('synchronous_commit') = 'off' THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    RETURN durable;
END $$;

-- Where durable, the commit of this transaction waits until all that can be seen lasts: so it writes
-- something, a message that says nothing. Others' commits can be seen before they last, where the
-- session that made one was ended while it waited.
CREATE FUNCTION refold.lasts(durable boolean) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM refold.commit_waits(durable);
    IF durable THEN
        PERFORM pg_logical_emit_message(true, 'refold', '');
    END IF;
END $$;

-- The last position of the first append after a position that holds an event of any of the types
-- (NULL: of any type) and has all of the tags (none: whatever tags it has).
CREATE FUNCTION refold.found_after(of_tenant integer, of_tags text[], of_types text[], after bigint)
RETURNS bigint LANGUAGE plpgsql STABLE AS $$
DECLARE
    at record;
BEGIN
    -- Each loop reads by an index, in order, and ends at the first that is found.
    IF of_tags = '{}' THEN
        FOR at IN
            SELECT l.position, l.count, l.body FROM refold.log AS l
            WHERE l.tenant = of_tenant AND l.types && of_types
                AND l.position >= coalesce((
                    SELECT b.position FROM refold.log AS b
                    WHERE b.tenant = of_tenant AND b.position <= after + 1
                    ORDER BY b.position DESC LIMIT 1
                ), 1)
                AND l.position + l.count - 1 > after AND strpos(l.stream, '~') = 0
            ORDER BY l.position
        LOOP
            IF refold.holds_after(at.body, of_types, after + 1 - at.position) THEN
                RETURN at.position + at.count - 1;
            END IF;
        END LOOP;
        RETURN NULL;
    END IF;
    FOR at IN
        SELECT t.last_position, t.last_position - t.count + 1 AS position, t.recorded_at
        FROM refold.tags AS t
        WHERE t.tenant = of_tenant AND t.tag = of_tags[1]
            AND t.last_position > after AND (of_types IS NULL OR t.types && of_types)
            AND NOT EXISTS (
                SELECT 1 FROM unnest(of_tags[2:]) AS wanted (tag) WHERE NOT EXISTS (
                    SELECT 1 FROM refold.tags AS other WHERE other.tenant = of_tenant
                        AND other.tag = wanted.tag AND other.last_position = t.last_position
                )
            )
        ORDER BY t.last_position
    LOOP
        IF of_types IS NULL OR at.position > after OR refold.holds_after(
            (
                SELECT l.body FROM refold.log AS l WHERE l.tenant = of_tenant
                    AND l.position = at.position AND l.recorded_at = at.recorded_at
            ), of_types, after + 1 - at.position
        ) THEN
            RETURN at.last_position;
        END IF;
    END LOOP;
    RETURN NULL;
END $$;

-- Where the first append stands that breaks a condition: [[[tags, types], ...], after].
CREATE FUNCTION refold.broken_at(of_tenant integer, condition json) RETURNS bigint
LANGUAGE sql STABLE AS $$
    SELECT min(refold.found_after(
        of_tenant,
        ARRAY(SELECT json_array_elements_text(item.value -> 0)),
        (SELECT array_agg(t) FROM json_array_elements_text(item.value -> 1) AS t),
        (condition ->> 1)::bigint
    ))
    FROM json_array_elements(condition -> 0) AS item (value)
$$;

-- Whoever writes says which schema he knows: a newer refold may have brought this one up to date since
-- he looked. `schema_number` is made anew by each migration, and costs nothing where it is asked.
CREATE FUNCTION refold.refuse_schema(known integer) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'another refold has brought it to schema %, and this process writes schema %: start '
        'it anew with that refold', refold.schema_number(), known USING ERRCODE = 'RF003';
END $$;

-- Store the appends of one commit, where what they were planned on still holds; else `first` is NULL
-- and the other columns say what does: `heads` of streams (-1: none), keys that are `taken`, and
-- what has `broken` each condition. `beliefs_at`: nor may the log have grown since, where given.
-- `times`: of appends of another log, which never go back, with what `clocks` said behind them.
CREATE FUNCTION refold.append(
    of_tenant integer, known_schema integer, commit_token uuid, now_at bigint, durable boolean, restarts boolean,
    names text[], believed bigint[], free_keys text[], conditions json, beliefs_at bigint,
    streams text[], offsets bigint[], versions bigint[], counts bigint[], kinds text[],
    row_keys text[], digests bytea[], metadatas text[], bodies text[],
    said_first bigint[], said_last bigint[], said_whole boolean[],
    parents text[], forks bigint[], tags text[],
    times bigint[] DEFAULT NULL, clocks bigint[] DEFAULT NULL,
    OUT first bigint, OUT stored_at bigint, OUT log_head bigint, OUT heads json, OUT taken text[],
    OUT broken json
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    waits boolean := refold.commit_waits(durable);
    has_turn boolean := refold.take_turn(of_tenant, 'refold.log'::regclass);
    last_at bigint;
    behind_at bigint;
BEGIN
    IF known_schema IS DISTINCT FROM refold.schema_number() THEN
        PERFORM refold.refuse_schema(known_schema);
    END IF;
    SELECT c.last, c.recorded_at INTO log_head, last_at FROM refold.commits AS c
    WHERE c.tenant = of_tenant ORDER BY c.after DESC LIMIT 1;
    log_head := coalesce(log_head, 0);

    SELECT json_object_agg(b.name, b.found) INTO heads FROM (
        SELECT n.name, n.version, coalesce((
            -- A plan is kept: one that reads all of a table while it is small would do so for ever.
            SELECT s.version FROM refold.streams AS s WHERE s.tenant = of_tenant AND s.name = n.name
        ), -1) AS found
        FROM unnest(names, believed) AS n (name, version)
    ) AS b WHERE b.found <> b.version;
    IF free_keys IS NOT NULL THEN
        SELECT array_agg(k.key) INTO taken FROM refold.keys AS k
        WHERE k.tenant = of_tenant AND k.key = ANY (free_keys) AND k.part = 0;
    END IF;
    IF conditions IS NOT NULL THEN
        SELECT json_agg(c.at ORDER BY c.number) INTO broken FROM (
            SELECT one.number, refold.broken_at(of_tenant, one.value) AS at
            FROM json_array_elements(conditions) WITH ORDINALITY AS one (value, number)
        ) AS c HAVING bool_or(c.at IS NOT NULL);
    END IF;
    IF heads IS NOT NULL OR taken IS NOT NULL OR broken IS NOT NULL OR beliefs_at <> log_head THEN
        RETURN;
    END IF;

    first := log_head + 1;
    stored_at := CASE
        WHEN times IS NOT NULL THEN times[cardinality(times)]
        WHEN restarts OR last_at IS NULL OR now_at >= last_at THEN now_at
        ELSE last_at
    END;
    IF streams = '{}' THEN
        RETURN; -- Only refusals: what they rest on holds.
    END IF;
    IF NOT pg_has_role(session_user, current_user, 'MEMBER') THEN
        PERFORM refold.check_places(offsets, counts, times, last_at);
    END IF;
    IF stored_at <> now_at AND times IS NULL THEN
        behind_at := now_at;
    END IF;
    INSERT INTO refold.log (
        tenant, position, version, recorded_at, occurred_from, occurred_to, clock_at, count,
        stream, types, key, metadata, body
    )
    SELECT
        of_tenant, first + r.place, r.version, coalesce(r.at, stored_at),
        CASE WHEN r.whole THEN r.earliest ELSE least(r.earliest, now.at) END,
        CASE WHEN r.whole THEN r.latest ELSE greatest(r.latest, now.at) END,
        coalesce(r.clock, behind_at), r.count, r.stream, string_to_array(r.kinds, E'\x1f'), r.key,
        r.metadata::json, r.body::json
    FROM unnest(
        streams, offsets, versions, counts, kinds, row_keys, metadatas, bodies,
        said_first, said_last, said_whole, times, clocks
    ) AS r (
        stream, place, version, count, kinds, key, metadata, body, earliest, latest, whole, at, clock
    )
    CROSS JOIN LATERAL (
        -- What events occurred at that do not say it; where all do, or none and the clock is right,
        -- that is no news.
        SELECT coalesce(
            r.clock, behind_at, CASE WHEN r.earliest IS NOT NULL THEN coalesce(r.at, stored_at) END
        )
    ) AS now (at);

    INSERT INTO refold.streams AS s (
        tenant, version, recorded_at, first_at, last_at, fork_version, name, category, parent
    )
    SELECT
        of_tenant, max(r.version + r.count - 1), coalesce(max(r.at), stored_at),
        coalesce(min(r.at), stored_at), coalesce(max(r.at), stored_at), max(r.fork),
        r.stream, refold.category_of(r.stream), max(r.parent)
    FROM unnest(streams, versions, counts, parents, forks, times)
        AS r (stream, version, count, parent, fork, at)
    GROUP BY r.stream
    ON CONFLICT (tenant, name) DO UPDATE SET
        version = excluded.version, recorded_at = excluded.recorded_at,
        first_at = least(s.first_at, excluded.first_at),
        last_at = greatest(s.last_at, excluded.last_at);

    IF row_keys IS NOT NULL THEN
        INSERT INTO refold.keys (
            tenant, part, count, position, version, recorded_at, key, stream, digest
        )
        SELECT
            of_tenant, coalesce(nullif(split_part(r.key, E'\x1f', 2), ''), '0')::integer, r.count,
            first + r.place, r.version, coalesce(r.at, stored_at),
            split_part(r.key, E'\x1f', 1), r.stream, r.digest
        FROM unnest(streams, offsets, versions, counts, row_keys, digests, times)
            AS r (stream, place, version, count, key, digest, at)
        WHERE r.key IS NOT NULL;
    END IF;
    IF tags IS NOT NULL THEN
        INSERT INTO refold.tags (tenant, count, last_position, recorded_at, tag, types)
        SELECT DISTINCT
            of_tenant, r.count, first + r.place + r.count - 1, coalesce(r.at, stored_at), one.tag,
            string_to_array(r.kinds, E'\x1f')
        FROM unnest(streams, offsets, counts, kinds, tags, times)
            AS r (stream, place, count, kinds, tags, at)
        CROSS JOIN LATERAL string_to_table(r.tags, E'\x1f') AS one (tag)
        WHERE r.tags IS NOT NULL AND strpos(r.stream, '~') = 0;
    END IF;
    INSERT INTO refold.commits (tenant, after, last, recorded_at, token)
    VALUES (
        of_tenant, log_head,
        log_head + offsets[cardinality(offsets)] + counts[cardinality(counts)],
        stored_at, commit_token
    );
    IF refold.has_listeners(of_tenant) THEN
        PERFORM pg_notify(refold.channel_of(of_tenant), '');
    END IF;
END $$;

-- The same for a lone append of one stream, without key, tags, conditions or times of its events: in
-- as few statements as it takes, and each is a third of what writing a row costs.
CREATE FUNCTION refold.append_one(
    of_tenant integer, known_schema integer, commit_token uuid, now_at bigint, durable boolean,
    of_stream text, believed bigint, event_count integer, kinds text, shared json, events json,
    OUT first bigint, OUT stored_at bigint, OUT log_head bigint, OUT heads json, OUT taken text[],
    OUT broken json
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    waits boolean := refold.commit_waits(durable);
    has_turn boolean := refold.take_turn(of_tenant, 'refold.log'::regclass);
    head bigint;
    behind_at bigint;
BEGIN
    IF known_schema IS DISTINCT FROM refold.schema_number() THEN
        PERFORM refold.refuse_schema(known_schema);
    END IF;
    -- Where there was no commit there is no stream.
    SELECT c.last, c.recorded_at, (
        SELECT s.version FROM refold.streams AS s WHERE s.tenant = of_tenant AND s.name = of_stream
    ) INTO log_head, stored_at, head FROM refold.commits AS c
    WHERE c.tenant = of_tenant ORDER BY c.after DESC LIMIT 1;
    log_head := coalesce(log_head, 0);
    stored_at := greatest(stored_at, now_at);
    IF stored_at <> now_at THEN
        behind_at := now_at;
    END IF;
    IF coalesce(head, -1) <> believed THEN
        heads := json_build_object(of_stream, coalesce(head, -1));
        RETURN;
    END IF;
    first := log_head + 1;
    INSERT INTO refold.log (
        tenant, position, version, recorded_at, occurred_from, occurred_to, clock_at, count,
        stream, types, metadata, body
    ) VALUES (
        of_tenant, first, believed + 1, stored_at, behind_at, behind_at, behind_at, event_count,
        of_stream, string_to_array(kinds, E'\x1f'), shared, events
    );
    IF head IS NULL THEN
        INSERT INTO refold.streams (
            tenant, version, recorded_at, first_at, last_at, name, category
        ) VALUES (
            of_tenant, event_count - 1, stored_at, stored_at, stored_at, of_stream,
            refold.category_of(of_stream)
        );
    ELSE
        UPDATE refold.streams AS s SET
            version = believed + event_count, recorded_at = stored_at,
            first_at = least(s.first_at, stored_at), last_at = greatest(s.last_at, stored_at)
        WHERE s.tenant = of_tenant AND s.name = of_stream;
    END IF;
    INSERT INTO refold.commits (tenant, after, last, recorded_at, token)
    VALUES (of_tenant, log_head, log_head + event_count, stored_at, commit_token);
    IF refold.has_listeners(of_tenant) THEN
        PERFORM pg_notify(refold.channel_of(of_tenant), '');
    END IF;
END $$;

-- Booleans can be added up, as views of projections do.
CREATE FUNCTION refold.add_bit(so_far bigint, one boolean) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN one IS NULL THEN so_far ELSE coalesce(so_far, 0) + one::integer END;
CREATE AGGREGATE refold.sum(boolean) (SFUNC = refold.add_bit, STYPE = bigint);
