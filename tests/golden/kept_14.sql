PRAGMA application_id = 1885696612;
PRAGMA user_version = 14;
BEGIN TRANSACTION;
CREATE TABLE attribute_keys (
  number INTEGER NOT NULL,
  key TEXT NOT NULL,
  id TEXT NOT NULL,
  incarnation INTEGER NOT NULL,
  PRIMARY KEY (number, key, id)
) STRICT, WITHOUT ROWID;
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
CREATE TABLE checkpoint_marks_a (mark TEXT NOT NULL) STRICT;
INSERT INTO "checkpoint_marks_a" VALUES('0000000000000000-0000000000000000');
CREATE TABLE checkpoint_marks_b (mark TEXT NOT NULL) STRICT;
INSERT INTO "checkpoint_marks_b" VALUES('0000000000000001-0000000000000001');
CREATE TABLE counters (
  epoch INTEGER NOT NULL,
  incarnation INTEGER NOT NULL,
  message_id INTEGER NOT NULL,
  sequence INTEGER NOT NULL
) STRICT;
INSERT INTO "counters" VALUES(1,3,0,18);
CREATE TABLE cursors (
  name TEXT PRIMARY KEY,
  sequence INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE dead_letters (
  message_id INTEGER PRIMARY KEY,
  sender TEXT NOT NULL,
  target TEXT NOT NULL,
  action TEXT NOT NULL,
  payload TEXT NOT NULL,
  sent_ms INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  error TEXT
, trace TEXT) STRICT;
CREATE TABLE events (
  sequence INTEGER PRIMARY KEY,
  address TEXT NOT NULL,
  type TEXT NOT NULL,
  at_ms INTEGER NOT NULL,
  body TEXT NOT NULL
) STRICT;
INSERT INTO "events" VALUES(16,'task:long:a','job.accepted',1767398400000,'{"event_id":"019b8127-6000-78f7-bc67-a7aa46ad6172","run_count":0,"action":"send","received_at_ms":1767398400000,"payload":"20"}');
INSERT INTO "events" VALUES(17,'task:few:a','job.accepted',1767398400000,'{"event_id":"019b8127-6000-7913-ab87-0e1156768477","run_count":0,"action":"send","received_at_ms":1767398400000,"payload":"20"}');
INSERT INTO "events" VALUES(18,'task:plain:a','job.accepted',1767398400000,'{"event_id":"019b8127-6000-7913-ab87-0e1256768477","run_count":0,"action":"send","received_at_ms":1767398400000,"payload":"20"}');
CREATE TABLE histories (
  job TEXT PRIMARY KEY,
  age_ms INTEGER NOT NULL,
  events INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "histories" VALUES('task:few',3153600000000,3);
INSERT INTO "histories" VALUES('task:long',7776000000,100000);
CREATE TABLE holds (
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE instance_counts (
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  status TEXT NOT NULL,
  number INTEGER NOT NULL,
  PRIMARY KEY (kind, name, status)
) STRICT, WITHOUT ROWID;
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
  updated_ms INTEGER NOT NULL, alarm_trace TEXT, journal_length INTEGER NOT NULL DEFAULT 0, lane TEXT, rank_ms INTEGER, ended_ms INTEGER, left_by TEXT, left_mark TEXT, suspended_ms INTEGER,
  UNIQUE (kind, name, id)
) STRICT;
INSERT INTO "instances" VALUES(1,5,'task','long','a','idle',NULL,NULL,'5',1,'',NULL,NULL,NULL,NULL,NULL,0,5,NULL,1767225600000,1767398400000,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "instances" VALUES(2,5,'task','few','a','idle',NULL,NULL,'5',1,'',NULL,NULL,NULL,NULL,NULL,0,5,NULL,1767225600000,1767398400000,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "instances" VALUES(3,5,'task','plain','a','idle',NULL,NULL,'5',1,'',NULL,NULL,NULL,NULL,NULL,0,5,NULL,1767225600000,1767398400000,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE journal (
  incarnation INTEGER NOT NULL,
  place INTEGER NOT NULL,
  body TEXT NOT NULL,
  PRIMARY KEY (incarnation, place)
) STRICT, WITHOUT ROWID;
CREATE TABLE kept_events (
  sequence INTEGER PRIMARY KEY,
  address TEXT NOT NULL,
  type TEXT NOT NULL,
  at_ms INTEGER NOT NULL,
  body TEXT NOT NULL,
  job TEXT NOT NULL,
  number INTEGER NOT NULL
) STRICT;
INSERT INTO "kept_events" VALUES(1,'task:long:a','job.started',1767225600000,'{"event_id":"019b76da-a800-7004-9f96-c79f9ca5499e","run_count":0}','task:long',1);
INSERT INTO "kept_events" VALUES(2,'task:long:a','job.accepted',1767225600000,'{"event_id":"019b76da-a800-7004-9f96-c79f9ca5499f","run_count":0,"action":"send","received_at_ms":1767225600000,"payload":"0"}','task:long',2);
INSERT INTO "kept_events" VALUES(3,'task:long:a','job.accepted',1767225600000,'{"event_id":"019b76da-a800-738c-b36a-015b3d15eef8","run_count":0,"action":"send","received_at_ms":1767225600000,"payload":"1"}','task:long',3);
INSERT INTO "kept_events" VALUES(6,'task:few:a','job.accepted',1767225600000,'{"event_id":"019b76da-a800-7cc4-944a-7edf6288e1a6","run_count":0,"action":"send","received_at_ms":1767225600000,"payload":"1"}','task:few',3);
INSERT INTO "kept_events" VALUES(10,'task:long:a','job.accepted',1767312000000,'{"event_id":"019b7c01-0400-78a6-b918-8cb935c3de96","run_count":0,"action":"send","received_at_ms":1767312000000,"payload":"10"}','task:long',4);
INSERT INTO "kept_events" VALUES(11,'task:long:a','job.accepted',1767312000000,'{"event_id":"019b7c01-0400-7ca6-a29d-2fb16951743f","run_count":0,"action":"send","received_at_ms":1767312000000,"payload":"11"}','task:long',5);
INSERT INTO "kept_events" VALUES(12,'task:few:a','job.accepted',1767312000000,'{"event_id":"019b7c01-0400-7ca6-a29d-2fb26951743f","run_count":0,"action":"send","received_at_ms":1767312000000,"payload":"10"}','task:few',4);
INSERT INTO "kept_events" VALUES(13,'task:few:a','job.accepted',1767312000000,'{"event_id":"019b7c01-0400-7ca6-a29d-2fb36951743f","run_count":0,"action":"send","received_at_ms":1767312000000,"payload":"11"}','task:few',5);
CREATE TABLE keys (
  address TEXT NOT NULL,
  key TEXT NOT NULL,
  action TEXT NOT NULL,
  fingerprint TEXT NOT NULL,
  answer TEXT NOT NULL,
  expires_ms INTEGER NOT NULL, ordinal INTEGER NOT NULL DEFAULT 0, failures INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (address, key)
) STRICT, WITHOUT ROWID;
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
, trace TEXT, left_by TEXT) STRICT;
CREATE TABLE streams (
  incarnation INTEGER NOT NULL,
  stream TEXT NOT NULL,
  last INTEGER NOT NULL,
  first INTEGER NOT NULL,
  total INTEGER NOT NULL,
  body TEXT NOT NULL,
  PRIMARY KEY (incarnation, stream, last)
) STRICT;
CREATE INDEX instances_due ON instances (due_ms) WHERE due_ms IS NOT NULL;
CREATE INDEX instances_owner ON instances (incarnation) WHERE owner IS NOT NULL;
CREATE INDEX keys_expiry ON keys (expires_ms);
CREATE INDEX messages_pair ON messages (sender, target);
CREATE INDEX messages_heads ON messages (message_id, not_before_ms) WHERE place = 'head';
CREATE INDEX messages_postponed ON messages (not_before_ms) WHERE not_before_ms > 0;
CREATE INDEX dead_letters_pair ON dead_letters (sender, target);
CREATE INDEX events_address ON events (address);
CREATE INDEX dead_letters_age ON dead_letters (sent_ms);
CREATE INDEX instances_held ON instances (status, kind, name, id) WHERE suspension IS NOT NULL;
CREATE INDEX instances_retrying ON instances (kind, name, id) WHERE status = 'retrying';
CREATE INDEX instances_lanes ON instances (kind, name, lane, rank_ms) WHERE rank_ms IS NOT NULL;
CREATE INDEX keys_ordinals ON keys (address, ordinal);
CREATE INDEX instances_left ON instances (left_by, incarnation) WHERE left_by IS NOT NULL;
CREATE INDEX instances_left_listed ON instances (kind, name, id) WHERE left_by IS NOT NULL;
CREATE INDEX messages_left ON messages (left_by, message_id) WHERE left_by IS NOT NULL;
CREATE UNIQUE INDEX attribute_keys_instance ON attribute_keys (incarnation, number);
CREATE INDEX kept_events_address ON kept_events (address);
CREATE UNIQUE INDEX kept_events_job ON kept_events (job, number);
COMMIT;
