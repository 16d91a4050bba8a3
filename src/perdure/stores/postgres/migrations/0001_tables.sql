-- Text, not jsonb: a state is returned byte for byte. Text is compared by code point (COLLATE "C"); a character U+0000,
-- which PostgreSQL text cannot hold, is stored as U+0001 U+0001, and U+0001 as U+0001 U+0002, in the same order.
CREATE SEQUENCE perdure.epochs;
CREATE SEQUENCE perdure.incarnations;
CREATE SEQUENCE perdure.message_ids;

-- One row. events_base is added to the numbers of events, so that they grow in a database restored into another cluster.
CREATE TABLE perdure.counters (events_base bigint NOT NULL, pruned_to bigint NOT NULL);
INSERT INTO perdure.counters VALUES (0, 0);

-- One row per opening: open, closed, or dead once another opening has fenced it. An owner has no lease: it holds a lock
-- of its connection.
CREATE TABLE perdure.engines (
  epoch bigint PRIMARY KEY,
  state text NOT NULL CHECK (state IN ('open', 'closed', 'dead')),
  opened_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  lease_until timestamptz,
  served text NOT NULL DEFAULT '[]', -- kind, name and version of the state of each job
  label text NOT NULL DEFAULT ''
);
CREATE INDEX engines_open ON perdure.engines (epoch) WHERE state = 'open';

-- One row is one job instance. The columns of indexes are few and rarely change, so that most updates touch no index;
-- for the same reason pages are filled to 70 percent only.
CREATE TABLE perdure.instances (
  incarnation bigint PRIMARY KEY,
  version bigint NOT NULL,
  bucket smallint NOT NULL, -- of the address: 0 to 63
  kind text COLLATE "C" NOT NULL,
  name text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  status text NOT NULL,
  due_ms bigint,
  owner bigint, -- epoch of the claim of a run
  event_owner bigint, -- epoch of the claim of an event
  state text NOT NULL,
  state_version int NOT NULL,
  data text NOT NULL,
  alarm_ms bigint,
  suspension text,
  pending_retry text,
  claim text,
  event_claim text,
  run_count bigint NOT NULL,
  event_count bigint NOT NULL,
  last_error text,
  created_ms bigint NOT NULL,
  updated_ms bigint NOT NULL,
  alarm_trace text,
  journal_length int NOT NULL,
  lane text COLLATE "C",
  rank_ms bigint,
  ended_ms bigint
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
CREATE UNIQUE INDEX instances_address ON perdure.instances (kind, name, id);
CREATE INDEX instances_due ON perdure.instances (due_ms, incarnation, bucket) WHERE due_ms IS NOT NULL;
CREATE INDEX instances_owner ON perdure.instances (incarnation) WHERE owner IS NOT NULL OR event_owner IS NOT NULL;
CREATE INDEX instances_running ON perdure.instances (kind, name, id) WHERE owner IS NOT NULL;
CREATE INDEX instances_suspended ON perdure.instances (suspension, kind, name, id) WHERE suspension IS NOT NULL;
CREATE INDEX instances_lanes ON perdure.instances (kind, name, lane, rank_ms, incarnation) WHERE rank_ms IS NOT NULL;
CREATE INDEX instances_retrying ON perdure.instances (kind, name, id) WHERE pending_retry IS NOT NULL;

-- The rows that runs append on their way, such as the outcomes of steps. They belong to an incarnation, and a journal
-- only grows: the instance says how many rows it has.
CREATE TABLE perdure.journal (
  incarnation bigint NOT NULL,
  place int NOT NULL,
  body text NOT NULL,
  PRIMARY KEY (incarnation, place)
);

-- Keys and pairs are found by digests: an index entry cannot hold two addresses of any text.
CREATE TABLE perdure.keys (
  holder bytea NOT NULL, -- digest of the address
  id bytea NOT NULL, -- digest of the key
  address text COLLATE "C" NOT NULL,
  key text COLLATE "C" NOT NULL,
  action text NOT NULL,
  fingerprint text NOT NULL,
  answer text NOT NULL,
  expires_ms bigint NOT NULL,
  PRIMARY KEY (holder, id)
);
CREATE INDEX keys_expiry ON perdure.keys (expires_ms);

-- Undelivered messages. place is 'head' for the oldest of its (sender, target) pair, 'behind' for others.
CREATE TABLE perdure.messages (
  message_id bigint PRIMARY KEY,
  pair bytea NOT NULL, -- digest of sender and target
  bucket smallint NOT NULL, -- of the target
  origin bigint NOT NULL, -- epoch of the engine that sent it; 0: the transaction of an application
  sender text COLLATE "C" NOT NULL,
  target text COLLATE "C" NOT NULL,
  action text NOT NULL,
  payload text NOT NULL,
  sent_ms bigint NOT NULL,
  attempts int NOT NULL DEFAULT 0,
  not_before_ms bigint NOT NULL DEFAULT 0,
  error text,
  trace text,
  place text NOT NULL CHECK (place IN ('head', 'behind'))
) WITH (autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX messages_pair ON perdure.messages (pair, message_id);
CREATE INDEX messages_heads ON perdure.messages (message_id, bucket) WHERE place = 'head';
CREATE INDEX messages_postponed ON perdure.messages (not_before_ms) WHERE not_before_ms > 0;

-- Messages that failed too often, kept until an operator redrives them.
CREATE TABLE perdure.dead_letters (
  message_id bigint PRIMARY KEY,
  pair bytea NOT NULL,
  bucket smallint NOT NULL,
  sender text COLLATE "C" NOT NULL,
  target text COLLATE "C" NOT NULL,
  action text NOT NULL,
  payload text NOT NULL,
  sent_ms bigint NOT NULL,
  attempts int NOT NULL,
  error text,
  trace text
);
CREATE INDEX dead_letters_pair ON perdure.dead_letters (pair);
CREATE INDEX dead_letters_age ON perdure.dead_letters (sent_ms);

-- The event history, in the order of commits. Retention deletes only the oldest events.
CREATE TABLE perdure.events (
  sequence bigint PRIMARY KEY,
  address text COLLATE "C" NOT NULL,
  type text NOT NULL,
  at_ms bigint NOT NULL,
  body text NOT NULL
);
CREATE INDEX events_address ON perdure.events (address, sequence);

-- How far each sink that exports the event history has come, and how many events behind that retention deleted.
CREATE TABLE perdure.cursors (
  name text COLLATE "C" PRIMARY KEY,
  sequence bigint NOT NULL,
  deleted bigint NOT NULL DEFAULT 0
);

-- The held jobs: their alarms wait, until the row is deleted.
CREATE TABLE perdure.holds (
  kind text COLLATE "C" NOT NULL,
  name text COLLATE "C" NOT NULL,
  PRIMARY KEY (kind, name)
);
