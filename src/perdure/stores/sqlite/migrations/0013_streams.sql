-- The chunks that runs emit, in groups. total: the bytes of the stream up to the group, those of deleted groups included.
CREATE TABLE streams (
  incarnation INTEGER NOT NULL,
  stream TEXT NOT NULL,
  last INTEGER NOT NULL,
  first INTEGER NOT NULL,
  total INTEGER NOT NULL,
  body TEXT NOT NULL,
  PRIMARY KEY (incarnation, stream, last)
) STRICT;
