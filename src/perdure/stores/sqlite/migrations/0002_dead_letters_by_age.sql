-- Retention asks for the oldest: without this it would read every dead letter, payload and all, to find none to let go.
CREATE INDEX dead_letters_age ON dead_letters (sent_ms);
