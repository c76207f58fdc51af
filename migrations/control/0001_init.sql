-- The control database: the source of truth for plans, tenants, limits, hosts and jobs.
-- One text for SQLite and PostgreSQL: TEXT, BIGINT (0/1; milliseconds since the epoch) and BYTEA only.

CREATE TABLE plans (
    id TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL,
    limits TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE tenants (
    id TEXT PRIMARY KEY NOT NULL,
    table_prefix TEXT NOT NULL,
    isolation TEXT NOT NULL CHECK (isolation IN ('prefix', 'database')),
    state TEXT NOT NULL CHECK (state IN ('active', 'suspended', 'deleting')),
    plan TEXT REFERENCES plans (id),
    limits TEXT NOT NULL,
    -- Grows with every change of what a context is made of; a plan's change counts.
    version BIGINT NOT NULL CHECK (version BETWEEN 1 AND 9000000000000000000),
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX tenants_by_prefix ON tenants (table_prefix);
CREATE INDEX tenants_by_plan ON tenants (plan);

CREATE TABLE tenant_hosts (
    host TEXT PRIMARY KEY NOT NULL,
    tenant TEXT NOT NULL REFERENCES tenants (id),
    created_at BIGINT NOT NULL
);
CREATE INDEX tenant_hosts_by_tenant ON tenant_hosts (tenant);

-- Which tenant migrations this database has, for every tenant in it.
CREATE TABLE tenant_migrations (
    table_prefix TEXT NOT NULL,
    version BIGINT NOT NULL,
    applied_at BIGINT NOT NULL,
    PRIMARY KEY (table_prefix, version)
);

-- What "accepted" means. The queue only carries pointers to these rows.
CREATE TABLE jobs (
    id TEXT PRIMARY KEY NOT NULL,
    tenant TEXT,
    subject TEXT,
    kind TEXT NOT NULL,
    pool TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'done', 'failed', 'dead')),
    payload TEXT NOT NULL,
    context_version BIGINT NOT NULL,
    trace TEXT NOT NULL,
    attempts BIGINT NOT NULL CHECK (attempts BETWEEN 0 AND 9000000000000000000),
    -- Claims since the last outcome: what a job that kills its worker has in common with itself.
    deliveries BIGINT NOT NULL CHECK (deliveries BETWEEN 0 AND 9000000000000000000),
    reserved_bytes BIGINT NOT NULL CHECK (reserved_bytes BETWEEN 0 AND 9000000000000000000),
    cause_code TEXT,
    cause TEXT,
    worker TEXT,
    created_at BIGINT NOT NULL,
    due_at BIGINT NOT NULL,
    published_at BIGINT,
    touched_at BIGINT NOT NULL,
    finished_at BIGINT,
    lease_owner TEXT,
    lease_until BIGINT NOT NULL
);
CREATE INDEX jobs_open ON jobs (pool, due_at, id) WHERE state IN ('queued', 'running');
CREATE INDEX jobs_unpublished ON jobs (created_at) WHERE state = 'queued' AND published_at IS NULL;
CREATE INDEX jobs_buried ON jobs (state, id) WHERE state IN ('failed', 'dead');
CREATE INDEX jobs_by_subject ON jobs (subject) WHERE subject IS NOT NULL;
CREATE INDEX jobs_open_by_tenant ON jobs (tenant, reserved_bytes) WHERE state IN ('queued', 'running', 'dead');

-- An answer given once is given again: the same key with another request is refused.
CREATE TABLE idempotency_keys (
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    request_hash TEXT NOT NULL,
    answer TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, name)
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

CREATE TABLE timer_runs (
    id TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL,
    holder TEXT NOT NULL,
    fence BIGINT NOT NULL,
    started_at BIGINT NOT NULL,
    ended_at BIGINT,
    changed BIGINT,
    error TEXT
);
CREATE INDEX timer_runs_by_name ON timer_runs (name, started_at);
