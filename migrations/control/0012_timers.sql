-- The last run of each timer, whatever it found; `timer_runs` keeps those that changed something, or failed.
CREATE TABLE timer_states (
    name TEXT PRIMARY KEY NOT NULL,
    holder TEXT NOT NULL,
    fence BIGINT NOT NULL,
    started_at BIGINT NOT NULL,
    ended_at BIGINT NOT NULL,
    changed BIGINT,
    error TEXT
);
