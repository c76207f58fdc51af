-- Uploads that are fetched from a URL are counted like others.

CREATE INDEX jobs_by_upload ON jobs (tenant, created_at) WHERE kind IN ('media.process', 'media.fetch');
DROP INDEX jobs_by_acceptance;
