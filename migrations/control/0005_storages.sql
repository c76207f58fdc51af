-- Where files are kept beside the installation's own store: the provider's storages, which every tenant's files may lie in, and
-- tenants' own.

CREATE TABLE storages (
    id TEXT PRIMARY KEY NOT NULL,
    -- Nobody's are the provider's.
    tenant TEXT REFERENCES tenants (id),
    name TEXT NOT NULL,
    -- A JSON object by kind, without credentials.
    settings TEXT NOT NULL,
    -- Credentials, sealed.
    secret TEXT,
    role TEXT NOT NULL CHECK (role IN ('originals', 'variants', 'both')),
    state TEXT NOT NULL CHECK (state IN ('active', 'read-only', 'draining', 'off')),
    -- Bytes it may hold; 0 is no bound.
    capacity BIGINT NOT NULL CHECK (capacity BETWEEN 0 AND 9000000000000000000),
    weight BIGINT NOT NULL CHECK (weight BETWEEN 1 AND 1000),
    -- What lies in it, and what jobs have claimed room for: the sum of its ledger.
    used BIGINT NOT NULL CHECK (used BETWEEN 0 AND 9000000000000000000),
    objects BIGINT NOT NULL CHECK (objects BETWEEN 0 AND 9000000000000000000),
    -- Grows with every change but that of what lies in it.
    version BIGINT NOT NULL CHECK (version BETWEEN 1 AND 9000000000000000000),
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX storages_by_tenant ON storages (tenant, id);

-- One line a job, part of its work and storage: what that put in, or took out. A line is what it says now, however often it is
-- written. Lines of the installation's own store (`-`) are counted nowhere.
CREATE TABLE storage_ledger (
    job TEXT NOT NULL,
    part TEXT NOT NULL,
    storage TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    objects BIGINT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (job, part, storage)
);
CREATE INDEX storage_ledger_by_age ON storage_ledger (at);

-- Going through everything in a storage (`-` is the installation's own store): to move it elsewhere, to read it again. One at a
-- time for each.
CREATE TABLE storage_tasks (
    storage TEXT PRIMARY KEY NOT NULL,
    -- Its jobs are about `task:` and this.
    id TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('move', 'verify')),
    -- Where everything goes; without, where each tenant's placement says.
    target TEXT,
    -- Of so many pictures one is read again.
    sample BIGINT NOT NULL CHECK (sample BETWEEN 1 AND 1000000),
    state TEXT NOT NULL CHECK (state IN ('running', 'done', 'stopped')),
    -- How far this pass has come: the last tenant (by its serial) that is done, and the picture of the next one that is.
    at_tenant TEXT NOT NULL,
    at_media TEXT NOT NULL,
    -- Jobs of this pass, and of the one before.
    fed BIGINT NOT NULL CHECK (fed BETWEEN 0 AND 9000000000000000000),
    fed_before BIGINT CHECK (fed_before BETWEEN 0 AND 9000000000000000000),
    -- Files that were moved or read, that were mended from another copy, that are damaged or missing.
    done BIGINT NOT NULL CHECK (done BETWEEN 0 AND 9000000000000000000),
    mended BIGINT NOT NULL CHECK (mended BETWEEN 0 AND 9000000000000000000),
    damaged BIGINT NOT NULL CHECK (damaged BETWEEN 0 AND 9000000000000000000),
    started_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

-- When pictures expire: what the scheduler goes by. The picture's own row has the say.
CREATE TABLE media_expiries (
    tenant TEXT NOT NULL,
    media TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (tenant, media)
);
CREATE INDEX media_expiries_by_time ON media_expiries (at);
