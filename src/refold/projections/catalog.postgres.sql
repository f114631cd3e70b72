-- The catalog of projections, in the schema of their rows: as catalog.sqlite.sql has it.

CREATE TABLE IF NOT EXISTS refold_projections (
    name text PRIMARY KEY,
    current bigint NOT NULL,  -- the generation that the views show
    previous bigint           -- the one before it, kept until it is confirmed
);

CREATE TABLE IF NOT EXISTS refold_generations (
    projection text NOT NULL,
    generation bigint NOT NULL,
    shape text NOT NULL,       -- what the projection was when this generation was begun
    code text NOT NULL,
    python text NOT NULL,      -- the version of Python that the code is for
    tables text NOT NULL,      -- a JSON list of names
    views text NOT NULL,       -- a JSON object of SELECTs by name
    PRIMARY KEY (projection, generation)
);

CREATE TABLE IF NOT EXISTS refold_progress (
    projection text NOT NULL,
    generation bigint NOT NULL,
    part bigint NOT NULL,     -- 0: an older refold could fill several
    position bigint NOT NULL, -- the last position of the log that is in the rows
    fence bigint NOT NULL,
    moved_at bigint NOT NULL, -- microseconds UTC
    rate double precision NOT NULL,      -- positions a second at the last moves
    PRIMARY KEY (projection, generation, part)
);

CREATE TABLE IF NOT EXISTS refold_parked (
    projection text NOT NULL,
    generation bigint NOT NULL,
    stream text NOT NULL,
    version bigint NOT NULL,  -- of the event that failed: it and what follows wait
    position bigint NOT NULL,
    error text NOT NULL,
    attempts bigint NOT NULL,
    parked_at bigint NOT NULL,
    PRIMARY KEY (projection, generation, stream)
);
