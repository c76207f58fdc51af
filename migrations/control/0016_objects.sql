-- Where tenants' objects are not what their rows say. An object that no row knows is no finding: it is removed, when it is old enough.
CREATE TABLE object_findings (
    tenant TEXT NOT NULL,
    -- `-` is the installation's own store.
    storage TEXT NOT NULL,
    object TEXT NOT NULL,
    -- missing: a row has it, the storage has not; size: the storage has it with another size; foreign: nothing of ours has such a name.
    problem TEXT NOT NULL CHECK (problem IN ('missing', 'size', 'foreign')),
    since BIGINT NOT NULL,
    -- The look that found it last.
    seen_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, storage, object)
);

-- How far the look at all tenants' objects has come: it goes on where it was, whoever leads.
CREATE TABLE object_passes (
    id BIGINT PRIMARY KEY NOT NULL CHECK (id = 1),
    -- The serial of the last tenant that is done.
    after_serial TEXT NOT NULL,
    -- Of the next one, the storage and the picture behind which it goes on; empty: from its beginning.
    storage TEXT NOT NULL,
    media TEXT NOT NULL,
    began_at BIGINT NOT NULL,
    ended_at BIGINT
);
