-- Tenants in several databases: where each one's tables are, what it inherits, what is sealed, and how it comes and goes.
-- A CHECK cannot be changed on SQLite: tenants and their hosts are made anew and filled from the old.

ALTER TABLE plans ADD COLUMN env TEXT;
ALTER TABLE plans ADD COLUMN isolation TEXT CHECK (isolation IN ('prefix', 'database'));
ALTER TABLE plans ADD COLUMN server TEXT;
-- Grows with every change; what resolved a tenant under another version resolves it again.
ALTER TABLE plans ADD COLUMN version BIGINT NOT NULL DEFAULT 1 CHECK (version BETWEEN 1 AND 9000000000000000000);

CREATE TABLE tenants_now (
    id TEXT PRIMARY KEY NOT NULL,
    -- Sorts by creation, never changes.
    serial TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('provisioning', 'active', 'suspended', 'leaving', 'deleting')),
    -- Its place: a server, a mode, and the name of this placement there. A move makes a new one.
    server TEXT NOT NULL,
    isolation TEXT NOT NULL CHECK (isolation IN ('prefix', 'database')),
    table_prefix TEXT NOT NULL,
    schema_version BIGINT NOT NULL CHECK (schema_version BETWEEN 0 AND 9000000000000000000),
    -- The job that moves it; reads go on, writes wait.
    moving TEXT,
    -- The last step of its provisioning or its removal that is done.
    step TEXT NOT NULL,
    plan TEXT,
    limits TEXT NOT NULL,
    env TEXT,
    trial_until BIGINT,
    -- When a leaving tenant may be removed for good.
    purge_at BIGINT,
    last_job_at BIGINT,
    -- Grows with every change of what a context is made of; a plan has its own.
    version BIGINT NOT NULL CHECK (version BETWEEN 1 AND 9000000000000000000),
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

INSERT INTO tenants_now (id, serial, state, server, isolation, table_prefix, schema_version, moving, step, plan, limits, env,
    trial_until, purge_at, last_job_at, version, created_at, updated_at)
SELECT t.id, t.table_prefix, t.state, 'main', t.isolation, t.table_prefix,
    COALESCE((SELECT MAX(m.version) FROM tenant_migrations m WHERE m.table_prefix = t.table_prefix), 0),
    NULL, 'announced', t.plan, t.limits, NULL, NULL, NULL, NULL, t.version, t.created_at, t.updated_at
FROM tenants t;

CREATE TABLE tenant_hosts_now (
    -- `*.example.org` stands for every host under it that is not named itself.
    host TEXT PRIMARY KEY NOT NULL,
    tenant TEXT NOT NULL REFERENCES tenants_now (id),
    -- The one that answers and URLs begin with.
    main BIGINT NOT NULL CHECK (main IN (0, 1)),
    created_at BIGINT NOT NULL
);

INSERT INTO tenant_hosts_now (host, tenant, main, created_at)
SELECT h.host, h.tenant, CASE WHEN h.host = (SELECT MIN(o.host) FROM tenant_hosts o WHERE o.tenant = h.tenant) THEN 1 ELSE 0 END,
    h.created_at
FROM tenant_hosts h;

-- The bookkeeping of one database: which tenants' tables lie in it. The same table is made in every database that holds some.
CREATE TABLE tenant_schemas (
    table_prefix TEXT PRIMARY KEY NOT NULL,
    tenant TEXT NOT NULL,
    version BIGINT NOT NULL CHECK (version BETWEEN 0 AND 9000000000000000000),
    -- The job that moves the tenant away from here: a writer that comes late finds it in its own transaction.
    closed_by TEXT,
    changed_at BIGINT NOT NULL
);

INSERT INTO tenant_schemas (table_prefix, tenant, version, closed_by, changed_at)
SELECT table_prefix, id, schema_version, NULL, updated_at FROM tenants_now;

DROP TABLE tenant_migrations;
DROP TABLE tenant_hosts;
DROP TABLE tenants;
ALTER TABLE tenants_now RENAME TO tenants;
ALTER TABLE tenant_hosts_now RENAME TO tenant_hosts;
CREATE UNIQUE INDEX tenants_by_serial ON tenants (serial);
CREATE INDEX tenants_by_plan ON tenants (plan);
CREATE INDEX tenants_by_change ON tenants (updated_at);
CREATE INDEX tenants_in_transit ON tenants (state, id) WHERE state IN ('provisioning', 'leaving', 'deleting');
CREATE INDEX tenants_behind ON tenants (schema_version, serial);
CREATE INDEX tenant_hosts_by_tenant ON tenant_hosts (tenant);

-- How many tenants each server has, counted as they come and go.
CREATE TABLE tenant_servers (
    server TEXT PRIMARY KEY NOT NULL,
    tenants BIGINT NOT NULL CHECK (tenants BETWEEN 0 AND 9000000000000000000)
);
INSERT INTO tenant_servers (server, tenants) SELECT 'main', COUNT(*) FROM tenants;

-- Places that nobody is in any more: dropped once no reader can have an old context.
CREATE TABLE retired_places (
    table_prefix TEXT PRIMARY KEY NOT NULL,
    tenant TEXT NOT NULL,
    server TEXT NOT NULL,
    isolation TEXT NOT NULL CHECK (isolation IN ('prefix', 'database')),
    drop_after BIGINT NOT NULL
);

-- What the Tenants API counts for each tenant, as of its last refresh: a JSON object of whole numbers.
CREATE TABLE tenant_stats (
    tenant TEXT PRIMARY KEY NOT NULL,
    stats TEXT NOT NULL,
    refreshed_at BIGINT NOT NULL
);

-- Keys of the Tenants API. Numbered from 1: the number stands in the key's text.
CREATE TABLE operator_keys (
    id BIGINT PRIMARY KEY NOT NULL CHECK (id BETWEEN 1 AND 9000000000000000000),
    name TEXT NOT NULL,
    hash BYTEA NOT NULL,
    scopes TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT
);

-- Each master key that sealed something, with a known text under it: a wrong key is found before it is used.
CREATE TABLE master_keys (
    id TEXT PRIMARY KEY NOT NULL,
    canary TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE batches (
    id TEXT PRIMARY KEY NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('receiving', 'running', 'paused', 'cancelled', 'done')),
    -- Public key that the tenants' first keys are sealed to; without it they are sealed here and shown once.
    recipient TEXT,
    actor TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE batch_rows (
    batch TEXT NOT NULL REFERENCES batches (id),
    line BIGINT NOT NULL,
    tenant TEXT,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'queued', 'done', 'unchanged', 'bad', 'failed', 'cancelled')),
    request TEXT NOT NULL,
    cause TEXT,
    -- The first key, sealed.
    secret TEXT,
    PRIMARY KEY (batch, line)
);
CREATE INDEX batch_rows_by_state ON batch_rows (batch, state, line);
CREATE INDEX batch_rows_queued ON batch_rows (tenant) WHERE state = 'queued';

CREATE TABLE audit_log (
    id TEXT PRIMARY KEY NOT NULL,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    tenant TEXT,
    detail TEXT NOT NULL
);
CREATE INDEX audit_log_by_tenant ON audit_log (tenant, id) WHERE tenant IS NOT NULL;
