-- Retention queries the oldest dead letters: without this index it would read all of them.
CREATE INDEX dead_letters_age ON dead_letters (sent_ms);

-- Each start queries the undecodable instances: without this index it would read all instances. Few are suspended.
CREATE INDEX instances_suspended ON instances (suspension, kind, name, id) WHERE suspension IS NOT NULL;
