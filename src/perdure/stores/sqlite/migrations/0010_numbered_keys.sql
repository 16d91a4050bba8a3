-- The keys of an address are numbered in the order of their first use: so their number is found without counting them, and
-- the answer of an old key is emptied together with the insertion of a new one. A request that failed has a number of
-- failures instead of an answer.
ALTER TABLE keys ADD COLUMN ordinal INTEGER NOT NULL DEFAULT 0;
ALTER TABLE keys ADD COLUMN failures INTEGER NOT NULL DEFAULT 0;

UPDATE keys SET ordinal = numbered.ordinal
FROM (SELECT address, key, row_number() OVER (PARTITION BY address ORDER BY expires_ms, key) AS ordinal FROM keys) AS numbered
WHERE keys.address = numbered.address AND keys.key = numbered.key;

CREATE INDEX keys_ordinals ON keys (address, ordinal);
