-- One tenant's tables. Names in braces become the tenant's own; everything that is indexed is a key, so nothing else needs a name.

CREATE TABLE {users} (
    id TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL UNIQUE,
    role TEXT NOT NULL CHECK (role IN ('admin', 'manager', 'user')),
    created_at BIGINT NOT NULL
);

CREATE TABLE {api_keys} (
    id TEXT PRIMARY KEY NOT NULL,
    user_id TEXT NOT NULL,
    name TEXT NOT NULL,
    hash BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT
);

CREATE TABLE {media} (
    id TEXT PRIMARY KEY NOT NULL,
    job TEXT NOT NULL,
    key_id TEXT,
    file_name TEXT,
    state TEXT NOT NULL CHECK (state IN ('ready', 'deleting')),
    format TEXT NOT NULL,
    width BIGINT NOT NULL,
    height BIGINT NOT NULL,
    uploaded_bytes BIGINT NOT NULL CHECK (uploaded_bytes BETWEEN 0 AND 9000000000000000000),
    stored_bytes BIGINT NOT NULL CHECK (stored_bytes BETWEEN 0 AND 9000000000000000000),
    removed TEXT NOT NULL,
    facts TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE {variants} (
    media TEXT NOT NULL,
    name TEXT NOT NULL,
    format TEXT NOT NULL,
    object_key TEXT NOT NULL,
    width BIGINT NOT NULL,
    height BIGINT NOT NULL,
    bytes BIGINT NOT NULL CHECK (bytes BETWEEN 0 AND 9000000000000000000),
    sha256 TEXT NOT NULL,
    PRIMARY KEY (media, name)
);

-- The sum of the ledger, kept so that reading it costs one row.
CREATE TABLE {usage} (
    id BIGINT PRIMARY KEY NOT NULL CHECK (id = 1),
    media BIGINT NOT NULL CHECK (media BETWEEN 0 AND 9000000000000000000),
    bytes BIGINT NOT NULL CHECK (bytes BETWEEN 0 AND 9000000000000000000)
);

-- Append only, one line a job: a job that runs again changes nothing.
CREATE TABLE {usage_ledger} (
    job TEXT PRIMARY KEY NOT NULL,
    media BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    at BIGINT NOT NULL
);

INSERT INTO {usage} (id, media, bytes) VALUES (1, 0, 0);
