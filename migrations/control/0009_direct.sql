-- Uploads whose bytes the client puts into object storage itself. They stand beside those in pieces: both are open, done, refused or
-- gone, and a tenant's bounds hold for both together.

-- The media type that was announced; NULL for uploads in pieces, and only there.
ALTER TABLE resumable_uploads ADD COLUMN content_type TEXT;
-- SHA-256 that was announced, lower-case hexadecimal, if it was.
ALTER TABLE resumable_uploads ADD COLUMN sha256 TEXT;
-- The job that the upload will be: its bytes lie where that job's wait.
ALTER TABLE resumable_uploads ADD COLUMN direct_job TEXT;
-- SHA-256 of the token that the api takes the bytes for; NULL where the store takes them by a signed URL of its own.
ALTER TABLE resumable_uploads ADD COLUMN token_hash TEXT;
