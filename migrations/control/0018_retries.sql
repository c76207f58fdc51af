-- Attempts that a job had made when it was last brought back from the dead. Its policy counts from there; the number of an attempt,
-- by which what it does is fenced, is never given twice.
ALTER TABLE jobs ADD COLUMN attempts_before BIGINT NOT NULL DEFAULT 0
    CHECK (attempts_before BETWEEN 0 AND 9000000000000000000);
