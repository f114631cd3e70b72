-- What differs between the schema of a file and the one that refold makes (:objects, :columns), with
-- what to do; and the SQL that makes it again, where that can lose nothing.
-- Texts are compared without white space. What users add beside it is theirs, but for what can
-- refuse an append.
WITH due AS (
    SELECT value ->> 0 AS name, value ->> 1 AS type, value ->> 2 AS sql FROM json_each(:objects)
),
due_columns AS (
    SELECT value ->> 0 AS tbl, value ->> 1 AS name, value ->> 2 AS is_like FROM json_each(:columns)
),
columns AS (
    SELECT due.name AS tbl, there.name, concat_ws(' ', there.type, "notnull", pk) AS is_like
    FROM due JOIN pragma_table_info(due.name) AS there WHERE due.type = 'table'
),
objects AS (
    SELECT due.*, there.type AS found, iif(there.type IS NULL, 'missing', 'altered') AS how,
        format('the %s %s is ', due.type, due.name) AS what,
        due.type != 'table' OR due.name IN ('tags', 'snapshots') AS is_made_of_the_log
    FROM due LEFT JOIN sqlite_schema AS there USING (name)
    WHERE replace(replace(there.sql, char(10), ''), ' ', '')
        IS NOT replace(replace(due.sql, char(10), ''), ' ', '')
)
SELECT what || how || ': `refold doctor --repair` makes it again',
    iif(found IS NULL, '', format('DROP %s %s;', type, name)) || sql
FROM objects WHERE is_made_of_the_log AND ifnull(found, type) = type
UNION ALL
SELECT format('%sa %s: rename that, and `refold doctor --repair` makes it', what, found), NULL
FROM objects WHERE found != type
UNION ALL
SELECT what || how || ': restore a backup', NULL
FROM objects WHERE NOT is_made_of_the_log AND ifnull(found, type) = type AND (
    found IS NULL
    OR (SELECT count(*) FROM (SELECT * FROM columns UNION SELECT * FROM due_columns)
        WHERE tbl = objects.name) = (SELECT count(*) FROM due_columns WHERE tbl = objects.name)
)
UNION ALL
SELECT format('the column %s of the table %s is %s: restore a backup', name, tbl,
    iif(EXISTS (SELECT 1 FROM columns WHERE (tbl, name) = (due_columns.tbl, due_columns.name)),
        'altered', 'missing')), NULL
FROM due_columns
WHERE tbl IN (SELECT name FROM objects WHERE NOT is_made_of_the_log AND found = 'table')
    AND (tbl, name, is_like) NOT IN (SELECT tbl, name, is_like FROM columns)
UNION ALL
SELECT format('the table %s has a column %s that is not refold''s: ALTER TABLE %s DROP COLUMN "%w"',
    tbl, name, tbl, name), NULL
FROM columns WHERE (tbl, name) NOT IN (SELECT tbl, name FROM due_columns)
    AND tbl IN (SELECT name FROM objects WHERE NOT is_made_of_the_log)
UNION ALL
SELECT format('the %s %s can refuse appends: DROP %s "%w"', type, name, upper(type), name), NULL
FROM sqlite_schema AS there
WHERE name NOT IN (SELECT name FROM due) AND tbl_name IN (SELECT name FROM due) AND (
    (type = 'trigger' AND instr(lower(sql), 'raise'))
    OR (type = 'index' AND sql IS NOT NULL
        AND (SELECT "unique" FROM pragma_index_list(tbl_name) AS one WHERE one.name = there.name))
)
