-- An append with the streams and kinds that are new: one statement, whatever is new in it.
CREATE VIEW appending AS
SELECT
    log.*,
    NULL AS new_kinds,        -- a JSON array of [id, tag]
    NULL AS new_stream,       -- name, category, parent and fork_version of a stream that begins
    NULL AS new_category,
    NULL AS new_parent,
    NULL AS new_fork_version
FROM log;
CREATE TRIGGER appending_insert INSTEAD OF INSERT ON appending
BEGIN
    INSERT INTO types SELECT value ->> 0, value ->> 1 FROM json_each(NEW.new_kinds);
    INSERT INTO streams (id, name, category, parent, fork_version)
    SELECT NEW.stream, NEW.new_stream, NEW.new_category, NEW.new_parent, NEW.new_fork_version
    WHERE NEW.new_stream IS NOT NULL;
    INSERT INTO log VALUES (
        NEW.position, NEW.stream, NEW.version, NEW.count, NEW.recorded_at, NEW.types, NEW.key,
        NEW.digest, NEW.metadata, NEW.occurred_from, NEW.occurred_to, NEW.body
    );
END;
