-- Whether a tenant's own key said where a storage is: every process that opens it connects to public addresses alone. Those that
-- are there were added by operators.
ALTER TABLE storages ADD COLUMN guarded BIGINT NOT NULL DEFAULT 0 CHECK (guarded BETWEEN 0 AND 1);
