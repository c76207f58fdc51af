-- Where each file lies, which pictures move, when they expire, what they were made of and for whom.

-- Storages that hold a file, in the order they are read from, parted by spaces; `-` is the installation's own store, and nothing is
-- that alone. One with `!` before it is being emptied of the file: nobody reads it there.
ALTER TABLE {variants} ADD COLUMN storages VARCHAR(280) NOT NULL DEFAULT '';

ALTER TABLE {media} ADD COLUMN frames BIGINT NOT NULL DEFAULT 1 CHECK (frames BETWEEN 1 AND 9000000000000000000);
ALTER TABLE {media} ADD COLUMN expires_at BIGINT;
-- Of the bytes as they were uploaded.
ALTER TABLE {media} ADD COLUMN sha256 VARCHAR(64);

-- Bytes of pictures that move, which `bytes` has too.
ALTER TABLE {usage} ADD COLUMN animation_bytes BIGINT NOT NULL DEFAULT 0 CHECK (animation_bytes BETWEEN 0 AND 9000000000000000000);
ALTER TABLE {usage_ledger} ADD COLUMN animation_bytes BIGINT NOT NULL DEFAULT 0;

-- Who has uploaded the same bytes, where the site gives a picture that it has for one that is the same: the picture stays until the
-- last of them deletes it.
CREATE TABLE {holders} (
    sha256 VARCHAR(64) NOT NULL,
    holder VARCHAR(26) NOT NULL,
    media VARCHAR(26) NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (sha256, holder)
);
