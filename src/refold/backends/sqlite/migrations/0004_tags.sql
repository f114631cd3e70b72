-- Which appends have which tags, from their metadata: made by the append itself, see the trigger.
CREATE TABLE tags (
    tag TEXT NOT NULL,
    last_position INTEGER NOT NULL, -- of the append's last event
    stream INTEGER NOT NULL,
    version INTEGER NOT NULL,       -- of the append's first event
    count INTEGER NOT NULL,
    types INTEGER NOT NULL,         -- as in log
    PRIMARY KEY (tag, last_position)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER log_tags AFTER INSERT ON log
WHEN NEW.metadata IS NOT NULL AND instr(NEW.metadata, '"tags"') AND NOT EXISTS (
    SELECT 1 FROM streams WHERE id = NEW.stream AND category LIKE '%~' -- a branch did not happen
)
BEGIN
    INSERT INTO tags
    SELECT value, NEW.position + NEW.count - 1, NEW.stream, NEW.version, NEW.count, NEW.types
    FROM json_each(NEW.metadata, '$.tags') WHERE type = 'text'
    GROUP BY value;
END;
