-- The catalog of projections, in the database of their rows.

CREATE TABLE IF NOT EXISTS refold_projections (
    name TEXT PRIMARY KEY,
    current INTEGER NOT NULL,  -- the generation that the views show
    previous INTEGER           -- the one before it, kept until it is confirmed
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS refold_generations (
    projection TEXT NOT NULL,
    generation INTEGER NOT NULL,
    shape TEXT NOT NULL,       -- what the projection was when this generation was begun
    code TEXT NOT NULL,
    python TEXT NOT NULL,      -- the version of Python that the code is for
    tables TEXT NOT NULL,      -- a JSON list of names
    views TEXT NOT NULL,       -- a JSON object of SELECTs by name
    PRIMARY KEY (projection, generation)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS refold_progress (
    projection TEXT NOT NULL,
    generation INTEGER NOT NULL,
    part INTEGER NOT NULL,     -- 0: an older refold could fill several
    position INTEGER NOT NULL, -- the last position of the log that is in the rows
    fence INTEGER NOT NULL,
    moved_at INTEGER NOT NULL, -- microseconds UTC
    rate REAL NOT NULL,        -- positions a second at the last moves
    PRIMARY KEY (projection, generation, part)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS refold_parked (
    projection TEXT NOT NULL,
    generation INTEGER NOT NULL,
    stream TEXT NOT NULL,
    version INTEGER NOT NULL,  -- of the event that failed: it and what follows wait
    position INTEGER NOT NULL,
    error TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    parked_at INTEGER NOT NULL,
    PRIMARY KEY (projection, generation, stream)
) STRICT, WITHOUT ROWID;
