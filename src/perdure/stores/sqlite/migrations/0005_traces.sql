-- The trace context (W3C traceparent) of the turn that set the alarm, or sent the message; NULL where none is traced.
ALTER TABLE instances ADD COLUMN alarm_trace TEXT;
ALTER TABLE messages ADD COLUMN trace TEXT;
ALTER TABLE dead_letters ADD COLUMN trace TEXT;
