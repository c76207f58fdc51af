-- Uploads that come in pieces, by the tus protocol. Any api process goes on with one that another began: what there is to
-- know of it stands here, its bytes lie in object storage, one object for each piece.

CREATE TABLE resumable_uploads (
    id TEXT PRIMARY KEY NOT NULL,
    tenant TEXT NOT NULL REFERENCES tenants (id),
    -- Who began it.
    api_key TEXT NOT NULL,
    -- whole: becomes a picture by itself; partial: a part of a final one; final: made of partial ones.
    kind TEXT NOT NULL CHECK (kind IN ('whole', 'partial', 'final')),
    state TEXT NOT NULL CHECK (state IN ('open', 'done', 'refused', 'gone')),
    -- Not known yet: the client says it later.
    length BIGINT CHECK (length BETWEEN 0 AND 9000000000000000000),
    -- What has arrived. It only grows, so that it is the version that writers compare.
    received BIGINT NOT NULL CHECK (received BETWEEN 0 AND 9000000000000000000),
    -- How many objects that is.
    pieces BIGINT NOT NULL CHECK (pieces BETWEEN 0 AND 9000000000000000000),
    -- Upload-Metadata as it was sent.
    metadata TEXT NOT NULL,
    -- Of a final one: the ids of its parts in order, with spaces between.
    parts TEXT,
    -- Whoever makes one object of the pieces has it to itself until then.
    claimed_until BIGINT NOT NULL,
    -- What it became.
    media TEXT,
    job TEXT,
    -- Why it was refused.
    refusal TEXT,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX resumable_uploads_by_tenant ON resumable_uploads (tenant, state);
CREATE INDEX resumable_uploads_by_expiry ON resumable_uploads (expires_at);
-- The same parts in the same order are the same upload, however often they are sent.
CREATE UNIQUE INDEX resumable_uploads_by_parts ON resumable_uploads (tenant, parts) WHERE kind = 'final';

CREATE TABLE resumable_pieces (
    upload TEXT NOT NULL REFERENCES resumable_uploads (id),
    -- Where in the upload it begins.
    start BIGINT NOT NULL CHECK (start BETWEEN 0 AND 9000000000000000000),
    bytes BIGINT NOT NULL CHECK (bytes BETWEEN 1 AND 9000000000000000000),
    -- Key of its object.
    object TEXT NOT NULL,
    PRIMARY KEY (upload, start)
);
