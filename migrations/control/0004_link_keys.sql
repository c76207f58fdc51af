-- Keys that tenants sign links with: such a link makes a variant of a picture. Places bound how many a tenant has.

CREATE TABLE link_keys (
    tenant TEXT NOT NULL REFERENCES tenants (id),
    place BIGINT NOT NULL CHECK (place BETWEEN 1 AND 5),
    id TEXT NOT NULL,
    -- Sealed.
    secret TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, place)
);
