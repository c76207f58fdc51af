-- One tenant's tables as all the steps leave them, for a new tenant: made in one round trip. A test compares the two.
-- Texts of a bounded length spare PostgreSQL a TOAST table and its index each; their bounds are the program's own.

CREATE TABLE {users} (
    id VARCHAR(26) PRIMARY KEY NOT NULL,
    name VARCHAR(100) NOT NULL UNIQUE,
    role VARCHAR(8) NOT NULL CHECK (role IN ('admin', 'manager', 'user')),
    email VARCHAR(200),
    password_hash VARCHAR(128),
    created_at BIGINT NOT NULL
);

CREATE TABLE {api_keys} (
    id VARCHAR(26) PRIMARY KEY NOT NULL,
    user_id VARCHAR(26) NOT NULL,
    name VARCHAR(100) NOT NULL,
    hash BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT
);

CREATE TABLE {media} (
    id VARCHAR(26) PRIMARY KEY NOT NULL,
    job VARCHAR(26) NOT NULL,
    key_id VARCHAR(26),
    file_name TEXT,
    state VARCHAR(8) NOT NULL CHECK (state IN ('ready', 'deleting')),
    format VARCHAR(8) NOT NULL,
    width BIGINT NOT NULL,
    height BIGINT NOT NULL,
    uploaded_bytes BIGINT NOT NULL CHECK (uploaded_bytes BETWEEN 0 AND 9000000000000000000),
    stored_bytes BIGINT NOT NULL CHECK (stored_bytes BETWEEN 0 AND 9000000000000000000),
    removed TEXT NOT NULL,
    facts TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    frames BIGINT NOT NULL DEFAULT 1 CHECK (frames BETWEEN 1 AND 9000000000000000000),
    expires_at BIGINT,
    -- Of the bytes as they were uploaded.
    sha256 VARCHAR(64)
);

CREATE TABLE {variants} (
    media VARCHAR(26) NOT NULL,
    name VARCHAR(32) NOT NULL,
    format VARCHAR(8) NOT NULL,
    object_key VARCHAR(200) NOT NULL,
    width BIGINT NOT NULL,
    height BIGINT NOT NULL,
    bytes BIGINT NOT NULL CHECK (bytes BETWEEN 0 AND 9000000000000000000),
    sha256 VARCHAR(64) NOT NULL,
    -- Storages that hold the file, in the order they are read from, parted by spaces; `-` is the installation's own store, and
    -- nothing is that alone. One with `!` before it is being emptied of the file: nobody reads it there.
    storages VARCHAR(280) NOT NULL DEFAULT '',
    PRIMARY KEY (media, name)
);

-- The sum of the ledger, kept so that reading it costs one row. One row needs no index.
CREATE TABLE {usage} (
    id BIGINT NOT NULL CHECK (id = 1),
    media BIGINT NOT NULL CHECK (media BETWEEN 0 AND 9000000000000000000),
    bytes BIGINT NOT NULL CHECK (bytes BETWEEN 0 AND 9000000000000000000),
    -- Bytes of pictures that move, which `bytes` has too.
    animation_bytes BIGINT NOT NULL DEFAULT 0 CHECK (animation_bytes BETWEEN 0 AND 9000000000000000000)
);

-- Append only, one line a job: a job that runs again changes nothing.
CREATE TABLE {usage_ledger} (
    job VARCHAR(26) PRIMARY KEY NOT NULL,
    media BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    at BIGINT NOT NULL,
    animation_bytes BIGINT NOT NULL DEFAULT 0
);

-- Who has uploaded the same bytes, where the site gives a picture that it has for one that is the same: the picture stays until the
-- last of them deletes it.
CREATE TABLE {holders} (
    sha256 VARCHAR(64) NOT NULL,
    holder VARCHAR(26) NOT NULL,
    media VARCHAR(26) NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (sha256, holder)
);

INSERT INTO {usage} (id, media, bytes) VALUES (1, 0, 0);
