-- Dead jobs, as people look for them: by tenant, kind, cause and age, a page at a time in order of their ids.
CREATE INDEX jobs_dead ON jobs (id, tenant, kind, cause_code, finished_at) WHERE state = 'dead';
DROP INDEX jobs_buried;

-- Retried jobs that wait for their time. held is 2 for those that go to the queue then, and 3 for those that wait for their
-- tenant's turn then: two less when the time has come.
CREATE INDEX jobs_delayed ON jobs (due_at, id) WHERE held >= 2 AND state = 'queued';

-- What is published by the scheduler is told from what its process is about to publish by when it came to be due, which is not
-- when it was accepted where it was held or retried in between.
CREATE INDEX jobs_to_be_published ON jobs (due_at) WHERE held = 0 AND state = 'queued' AND published_at IS NULL;
DROP INDEX jobs_to_publish;
