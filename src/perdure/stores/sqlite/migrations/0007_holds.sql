-- The held jobs: their alarms wait, until the row is deleted.
CREATE TABLE holds (
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;
