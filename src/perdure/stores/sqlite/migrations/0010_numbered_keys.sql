-- The keys of an address are numbered in the order of their first use: so their number is found without counting them, and
-- the answer of an old key is emptied together with the insertion of a new one. A request that failed has a number of
-- failures instead of an answer.
ALTER TABLE keys RENAME TO unnumbered_keys;

CREATE TABLE keys (
  address TEXT NOT NULL,
  ordinal INTEGER NOT NULL,
  key TEXT NOT NULL,
  action TEXT NOT NULL,
  fingerprint TEXT NOT NULL,
  answer TEXT NOT NULL,
  expires_ms INTEGER NOT NULL,
  failures INTEGER NOT NULL,
  PRIMARY KEY (address, ordinal)
) STRICT, WITHOUT ROWID;

INSERT INTO keys (address, ordinal, key, action, fingerprint, answer, expires_ms, failures)
SELECT address, row_number() OVER (PARTITION BY address ORDER BY expires_ms, key), key, action, fingerprint, answer,
  expires_ms, 0
FROM unnumbered_keys;

DROP TABLE unnumbered_keys;
CREATE UNIQUE INDEX keys_names ON keys (address, key);
CREATE INDEX keys_expiry ON keys (expires_ms);
