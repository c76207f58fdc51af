-- Who leads where several processes could. Nobody's clock is in it: whoever waits counts for itself how long nothing has changed.
CREATE TABLE leases (
    name TEXT PRIMARY KEY NOT NULL,
    -- Nobody holds it where this is empty.
    owner TEXT NOT NULL,
    -- Grows with every owner.
    fence BIGINT NOT NULL,
    -- Grows with every sign of life.
    beat BIGINT NOT NULL
);

-- Whether a timer's last run left something for the next.
ALTER TABLE timer_states ADD COLUMN unfinished BIGINT NOT NULL DEFAULT 0 CHECK (unfinished IN (0, 1));
