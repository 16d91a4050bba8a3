-- How long the histories of jobs are kept, longer than in the log: only jobs that declare it have rows. job is kind:name.
CREATE TABLE histories (
  job TEXT PRIMARY KEY,
  age_ms INTEGER NOT NULL,
  events INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Events of these jobs that have left the log, which must not have gaps. The numbers of a job have none: the oldest go first.
CREATE TABLE kept_events (
  sequence INTEGER PRIMARY KEY,
  address TEXT NOT NULL,
  type TEXT NOT NULL,
  at_ms INTEGER NOT NULL,
  body TEXT NOT NULL,
  job TEXT NOT NULL,
  number INTEGER NOT NULL
) STRICT;
CREATE INDEX kept_events_address ON kept_events (address);
CREATE UNIQUE INDEX kept_events_job ON kept_events (job, number);
