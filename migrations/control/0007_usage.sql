-- What tenants use in a period, and what they used, hour by hour, for whoever writes the bills.

-- Uploads that a tenant had accepted in this hour.
CREATE INDEX jobs_by_acceptance ON jobs (tenant, created_at) WHERE kind = 'media.process';
-- Tenants that were active lately.
CREATE INDEX jobs_by_end ON jobs (finished_at, tenant) WHERE finished_at IS NOT NULL;

-- Tenants whose usage is known here, those that are gone among them.
CREATE TABLE metered_tenants (
    tenant TEXT PRIMARY KEY NOT NULL,
    -- Grows with every roll-up: one that read its ledger before another wrote begins anew.
    roll_ups BIGINT NOT NULL CHECK (roll_ups BETWEEN 0 AND 9000000000000000000),
    -- The tenant of this id that was removed last, and when.
    closed_serial TEXT,
    closed_at BIGINT
);
CREATE INDEX metered_tenants_closed ON metered_tenants (closed_at) WHERE closed_at IS NOT NULL;

-- Changes of what a tenant uses, one row an hour in which something changed.
CREATE TABLE usage_hours (
    tenant TEXT NOT NULL,
    resource TEXT NOT NULL CHECK (resource IN ('media', 'bytes', 'bytes_out')),
    -- Its beginning.
    hour BIGINT NOT NULL,
    -- Of media and bytes: the sum of the ledger's lines of this hour.
    change BIGINT NOT NULL CHECK (change BETWEEN -9000000000000000000 AND 9000000000000000000),
    -- The same of earlier tenants of this id, whose ledgers are gone, with what took them back to nothing.
    closed BIGINT NOT NULL CHECK (closed BETWEEN -9000000000000000000 AND 9000000000000000000),
    PRIMARY KEY (tenant, resource, hour)
);

-- Bytes served in a calendar month (UTC).
CREATE TABLE bytes_out_months (
    tenant TEXT NOT NULL,
    -- Its beginning.
    month BIGINT NOT NULL,
    bytes BIGINT NOT NULL CHECK (bytes BETWEEN 0 AND 9000000000000000000),
    counted_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, month)
);
CREATE INDEX bytes_out_months_counted ON bytes_out_months (counted_at);

-- The last number of each process that counts: a count whose commit was in doubt is sent again, and taken once.
CREATE TABLE bytes_out_counts (
    process TEXT PRIMARY KEY NOT NULL,
    number BIGINT NOT NULL CHECK (number BETWEEN 0 AND 9000000000000000000),
    at BIGINT NOT NULL
);

-- Lines that a tenant's usage has crossed and that were told of.
CREATE TABLE limit_marks (
    tenant TEXT NOT NULL,
    limit_name TEXT NOT NULL,
    -- The beginning of the hour or month; 0 for what has no period.
    period BIGINT NOT NULL,
    -- Percent.
    level BIGINT NOT NULL CHECK (level IN (80, 100)),
    at BIGINT NOT NULL,
    PRIMARY KEY (tenant, limit_name)
);

-- Tenants that a timer has to look at because they were active.
CREATE TABLE active_tenants (
    timer TEXT NOT NULL,
    tenant TEXT NOT NULL,
    -- When it was noticed: what was noticed again meanwhile stays.
    noticed_at BIGINT NOT NULL,
    PRIMARY KEY (timer, tenant)
);
CREATE TABLE active_until (
    timer TEXT PRIMARY KEY NOT NULL,
    -- Activity before this was noticed.
    at BIGINT NOT NULL
);
