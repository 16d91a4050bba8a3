-- The rows that runs append on their way, such as the outcomes of steps. They belong to an incarnation and are deleted
-- with it. A journal only grows, and the instance says how many rows it has.
CREATE TABLE journal (
  incarnation INTEGER NOT NULL,
  place INTEGER NOT NULL,
  body TEXT NOT NULL,
  PRIMARY KEY (incarnation, place)
) STRICT, WITHOUT ROWID;

ALTER TABLE instances ADD COLUMN journal_length INTEGER NOT NULL DEFAULT 0;
