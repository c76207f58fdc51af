-- Leaner on PostgreSQL: texts of a bounded length need no TOAST table. Users get what the Tenants API installs them with; a hash
-- is Argon2id's PHC text. A column's type cannot be changed on SQLite: each table is made anew and filled from the old.

ALTER TABLE {users} RENAME TO {users_old};
CREATE TABLE {users} (
    id VARCHAR(26) PRIMARY KEY NOT NULL,
    name VARCHAR(100) NOT NULL UNIQUE,
    role VARCHAR(8) NOT NULL CHECK (role IN ('admin', 'manager', 'user')),
    email VARCHAR(200),
    password_hash VARCHAR(128),
    created_at BIGINT NOT NULL
);
INSERT INTO {users} (id, name, role, created_at) SELECT id, SUBSTR(name, 1, 100), role, created_at FROM {users_old};
DROP TABLE {users_old};

ALTER TABLE {api_keys} RENAME TO {api_keys_old};
CREATE TABLE {api_keys} (
    id VARCHAR(26) PRIMARY KEY NOT NULL,
    user_id VARCHAR(26) NOT NULL,
    name VARCHAR(100) NOT NULL,
    hash BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT
);
INSERT INTO {api_keys} (id, user_id, name, hash, created_at, expires_at, revoked_at) SELECT id, user_id, SUBSTR(name, 1, 100), hash, created_at, expires_at, revoked_at FROM {api_keys_old};
DROP TABLE {api_keys_old};

ALTER TABLE {media} RENAME TO {media_old};
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
    created_at BIGINT NOT NULL
);
INSERT INTO {media} (id, job, key_id, file_name, state, format, width, height, uploaded_bytes, stored_bytes, removed, facts, created_at) SELECT id, job, key_id, file_name, state, format, width, height, uploaded_bytes, stored_bytes, removed, facts, created_at FROM {media_old};
DROP TABLE {media_old};

ALTER TABLE {variants} RENAME TO {variants_old};
CREATE TABLE {variants} (
    media VARCHAR(26) NOT NULL,
    name VARCHAR(32) NOT NULL,
    format VARCHAR(8) NOT NULL,
    object_key VARCHAR(200) NOT NULL,
    width BIGINT NOT NULL,
    height BIGINT NOT NULL,
    bytes BIGINT NOT NULL CHECK (bytes BETWEEN 0 AND 9000000000000000000),
    sha256 VARCHAR(64) NOT NULL,
    PRIMARY KEY (media, name)
);
INSERT INTO {variants} (media, name, format, object_key, width, height, bytes, sha256) SELECT media, name, format, object_key, width, height, bytes, sha256 FROM {variants_old};
DROP TABLE {variants_old};

ALTER TABLE {usage} RENAME TO {usage_old};
-- The sum of the ledger, kept so that reading it costs one row. One row needs no index.
CREATE TABLE {usage} (
    id BIGINT NOT NULL CHECK (id = 1),
    media BIGINT NOT NULL CHECK (media BETWEEN 0 AND 9000000000000000000),
    bytes BIGINT NOT NULL CHECK (bytes BETWEEN 0 AND 9000000000000000000)
);
INSERT INTO {usage} (id, media, bytes) SELECT id, media, bytes FROM {usage_old};
DROP TABLE {usage_old};

ALTER TABLE {usage_ledger} RENAME TO {usage_ledger_old};
-- Append only, one line a job: a job that runs again changes nothing.
CREATE TABLE {usage_ledger} (
    job VARCHAR(26) PRIMARY KEY NOT NULL,
    media BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    at BIGINT NOT NULL
);
INSERT INTO {usage_ledger} (job, media, bytes, at) SELECT job, media, bytes, at FROM {usage_ledger_old};
DROP TABLE {usage_ledger_old};
