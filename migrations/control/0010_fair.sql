-- Fair dispatch: what a tenant has beyond its share of the queue is held here and released in turns.

-- 1: accepted, and not for the queue yet.
ALTER TABLE jobs ADD COLUMN held BIGINT NOT NULL DEFAULT 0;
-- interactive: somebody waits for it; bulk: nobody does.
ALTER TABLE jobs ADD COLUMN lane TEXT NOT NULL DEFAULT 'interactive';

-- Whose turn it is. A row for everybody who has held jobs, by pool and lane; one that is missing is put back by the scheduler.
CREATE TABLE dispatch_turns (
    pool TEXT NOT NULL,
    lane TEXT NOT NULL,
    tenant TEXT NOT NULL,
    -- Grows with every job that is released, the less the more the tenant weighs; the smallest is next.
    turn BIGINT NOT NULL CHECK (turn BETWEEN 0 AND 9000000000000000000),
    PRIMARY KEY (pool, lane, tenant)
);
CREATE INDEX dispatch_turns_next ON dispatch_turns (pool, turn);

CREATE INDEX jobs_held ON jobs (pool, tenant, lane, id) WHERE held = 1 AND state = 'queued';
-- The queue passes held jobs over: with them in its indexes every look would read them all.
CREATE INDEX jobs_due ON jobs (pool, due_at, id) WHERE held = 0 AND state IN ('queued', 'running');
DROP INDEX jobs_open;
CREATE INDEX jobs_to_publish ON jobs (created_at) WHERE held = 0 AND state = 'queued' AND published_at IS NULL;
DROP INDEX jobs_unpublished;
