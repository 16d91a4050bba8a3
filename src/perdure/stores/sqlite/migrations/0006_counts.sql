-- The counts of instances, which an engine writes when it closes the file and the next one takes out: a file that was
-- not closed has none, and is counted when a caller asks.
CREATE TABLE instance_counts (
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  status TEXT NOT NULL,
  number INTEGER NOT NULL,
  PRIMARY KEY (kind, name, status)
) STRICT, WITHOUT ROWID;

-- Lists of the paused, the parked and the retrying instances: without these indexes they would read all instances.
CREATE INDEX instances_held ON instances (status, kind, name, id) WHERE suspension IS NOT NULL;
CREATE INDEX instances_retrying ON instances (kind, name, id) WHERE status = 'retrying';
