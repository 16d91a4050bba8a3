-- The attributes by which instances are found: how far each is, and their keys. Only instances of jobs that declare
-- attributes have rows. A key that begins with '!' says why a value could not be computed.
CREATE TABLE attributes (
  number INTEGER PRIMARY KEY,
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  attribute TEXT NOT NULL,
  fingerprint TEXT NOT NULL,
  progress TEXT NOT NULL CHECK (progress IN ('clearing', 'filling', 'whole')),
  position TEXT NOT NULL,
  generation INTEGER NOT NULL,
  UNIQUE (kind, name, attribute)
) STRICT;

CREATE TABLE attribute_keys (
  number INTEGER NOT NULL,
  key TEXT NOT NULL,
  id TEXT NOT NULL,
  incarnation INTEGER NOT NULL,
  PRIMARY KEY (number, key, id)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX attribute_keys_instance ON attribute_keys (incarnation, number);
