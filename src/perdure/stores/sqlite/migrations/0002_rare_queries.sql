-- Retention asks for the oldest: without this it would read every dead letter, payload and all, to find none to let go.
CREATE INDEX dead_letters_age ON dead_letters (sent_ms);

-- Each start asks for what could not be decoded: without this it would read every instance. Few are held, most in none.
CREATE INDEX instances_suspended ON instances (suspension, kind, name, id) WHERE suspension IS NOT NULL;
