-- What tenants have too much of, or too little, and what becomes of that: uploads of those that do not fit in time are refused.

-- One row for each reason of a tenant; it goes when the reason does.
CREATE TABLE findings (
    tenant TEXT NOT NULL,
    -- A limit's name, or `trial`.
    reason TEXT NOT NULL,
    -- grace: told of; expiring: its oldest pictures are being deleted; frozen: its uploads are refused.
    state TEXT NOT NULL CHECK (state IN ('grace', 'expiring', 'frozen')),
    used BIGINT NOT NULL CHECK (used BETWEEN 0 AND 9000000000000000000),
    allowed BIGINT NOT NULL CHECK (allowed BETWEEN 0 AND 9000000000000000000),
    since BIGINT NOT NULL,
    -- When its grace is over.
    freeze_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, reason)
);
CREATE INDEX findings_due ON findings (freeze_at, tenant) WHERE state <> 'frozen';
CREATE INDEX findings_frozen ON findings (reason) WHERE state = 'frozen';

-- The frozen ones again, as a JSON array, since a context is made of this row: whoever judged without them is outdated.
ALTER TABLE tenants ADD COLUMN frozen TEXT;
CREATE INDEX tenants_on_trial ON tenants (trial_until) WHERE trial_until IS NOT NULL;
CREATE INDEX storages_by_change ON storages (updated_at) WHERE tenant IS NOT NULL;

-- The version whose tenants were noted to be looked at.
ALTER TABLE plans ADD COLUMN enforced_version BIGINT NOT NULL DEFAULT 0;

-- The sum of a tenant's hours: what it stores, so that tenants are compared with their limits a page at a time.
ALTER TABLE metered_tenants ADD COLUMN media BIGINT NOT NULL DEFAULT 0;
ALTER TABLE metered_tenants ADD COLUMN bytes BIGINT NOT NULL DEFAULT 0;
UPDATE metered_tenants SET
    media = CAST(COALESCE((SELECT SUM(h.change) FROM usage_hours h WHERE h.tenant = metered_tenants.tenant AND h.resource = 'media'), 0) AS BIGINT),
    bytes = CAST(COALESCE((SELECT SUM(h.change) FROM usage_hours h WHERE h.tenant = metered_tenants.tenant AND h.resource = 'bytes'), 0) AS BIGINT);

-- How far the pass over all tenants has come: it goes on where it was, whoever leads.
CREATE TABLE enforcement_passes (
    id BIGINT PRIMARY KEY NOT NULL CHECK (id = 1),
    after_tenant TEXT NOT NULL,
    began_at BIGINT NOT NULL,
    ended_at BIGINT
);

-- Whether it was told that the key's time is over.
ALTER TABLE operator_keys ADD COLUMN end_told BIGINT NOT NULL DEFAULT 0 CHECK (end_told IN (0, 1));
