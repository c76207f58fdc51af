-- How far timers have come with what is too much for one run: the next goes on where it was, whoever leads.
CREATE TABLE timer_passes (
    timer TEXT PRIMARY KEY NOT NULL,
    -- Where it is and what it has added up, JSON of the timer's own.
    progress TEXT NOT NULL,
    began_at BIGINT NOT NULL,
    ended_at BIGINT
);

-- It takes the place of enforcement_passes and object_passes, which schedulers of the release before still use: they go with a later one.
