-- One row is one job instance. The integer key makes updates and index entries short, and orders rows by creation.
CREATE TABLE instances (
  incarnation INTEGER PRIMARY KEY,
  version INTEGER NOT NULL,
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  id TEXT NOT NULL,
  status TEXT NOT NULL,
  due_ms INTEGER,
  owner INTEGER,
  state TEXT NOT NULL,
  state_version INTEGER NOT NULL,
  data TEXT NOT NULL,
  alarm_ms INTEGER,
  suspension TEXT,
  pending_retry TEXT,
  claim TEXT,
  event_claim TEXT,
  run_count INTEGER NOT NULL,
  event_count INTEGER NOT NULL,
  last_error TEXT,
  created_ms INTEGER NOT NULL,
  updated_ms INTEGER NOT NULL,
  UNIQUE (kind, name, id)
) STRICT;

CREATE INDEX instances_due ON instances (due_ms) WHERE due_ms IS NOT NULL;

-- Only instances with a run in progress have an owner, so this index is small.
CREATE INDEX instances_owner ON instances (incarnation) WHERE owner IS NOT NULL;

-- The answers of idempotency keys. They belong to the address and outlive the instance.
CREATE TABLE keys (
  address TEXT NOT NULL,
  key TEXT NOT NULL,
  action TEXT NOT NULL,
  fingerprint TEXT NOT NULL,
  answer TEXT NOT NULL,
  expires_ms INTEGER NOT NULL,
  PRIMARY KEY (address, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX keys_expiry ON keys (expires_ms);

-- Undelivered messages. place is 'head' for the oldest of its (sender, target) pair, 'behind' for others.
CREATE TABLE messages (
  message_id INTEGER PRIMARY KEY,
  sender TEXT NOT NULL,
  target TEXT NOT NULL,
  action TEXT NOT NULL,
  payload TEXT NOT NULL,
  sent_ms INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  not_before_ms INTEGER NOT NULL,
  error TEXT,
  place TEXT NOT NULL CHECK (place IN ('head', 'behind'))
) STRICT;

CREATE INDEX messages_pair ON messages (sender, target);
CREATE INDEX messages_heads ON messages (message_id, not_before_ms) WHERE place = 'head';
CREATE INDEX messages_postponed ON messages (not_before_ms) WHERE not_before_ms > 0;

-- Messages that failed too often, kept until an operator redrives them.
CREATE TABLE dead_letters (
  message_id INTEGER PRIMARY KEY,
  sender TEXT NOT NULL,
  target TEXT NOT NULL,
  action TEXT NOT NULL,
  payload TEXT NOT NULL,
  sent_ms INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  error TEXT
) STRICT;

CREATE INDEX dead_letters_pair ON dead_letters (sender, target);

-- The event history, in order. Retention deletes only the oldest events.
CREATE TABLE events (
  sequence INTEGER PRIMARY KEY,
  address TEXT NOT NULL,
  type TEXT NOT NULL,
  at_ms INTEGER NOT NULL,
  body TEXT NOT NULL
) STRICT;

CREATE INDEX events_address ON events (address);

-- The numbers assigned so far. They never decrease, not even when rows are deleted.
CREATE TABLE counters (
  epoch INTEGER NOT NULL,
  incarnation INTEGER NOT NULL,
  message_id INTEGER NOT NULL,
  sequence INTEGER NOT NULL
) STRICT;

INSERT INTO counters VALUES (0, 0, 0, 0);
