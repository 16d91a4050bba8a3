PRAGMA application_id = 1885696612;
PRAGMA user_version = 13;
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
INSERT INTO "checkpoint_marks_b" VALUES('0000000000000002-0000000000000001');
CREATE TABLE counters (
  epoch INTEGER NOT NULL,
  incarnation INTEGER NOT NULL,
  message_id INTEGER NOT NULL,
  sequence INTEGER NOT NULL
) STRICT;
INSERT INTO "counters" VALUES(2,12,9,23);
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
INSERT INTO "events" VALUES(1,'schedule:table:often','job.started',1767225600000,'{"event_id":"019b76da-a800-7de1-8f9c-3c5a55485823","run_count":0}');
INSERT INTO "events" VALUES(2,'schedule:table:daily','job.started',1767225600000,'{"event_id":"019b76da-a800-7ff7-9f50-7980eece328c","run_count":0}');
INSERT INTO "events" VALUES(3,'schedule:table:paused','job.started',1767225600000,'{"event_id":"019b76da-a800-7ff7-9f50-7981eece328c","run_count":0}');
INSERT INTO "events" VALUES(4,'schedule:table:paused','job.paused',1767225600000,'{"event_id":"019b76da-a800-7ff7-9f50-7982eece328c","run_count":0}');
INSERT INTO "events" VALUES(5,'schedule:table:often','job.noted',1767225660000,'{"event_id":"019b76db-9260-7b48-91a3-fd50864a7a51","run_count":0,"name":"schedule.fired","data":"{\"count\":1,\"missed\":0,\"ticks\":[\"2026-01-01T00:01:00Z\"],\"target\":\"task:reports:eu\"}"}');
INSERT INTO "events" VALUES(6,'task:reports:eu','job.started',1767225660000,'{"event_id":"019b76db-9260-7d85-8f8d-e54b30bcab0f","run_count":0,"told_by":"schedule:table:often"}');
INSERT INTO "events" VALUES(7,'schedule:table:often','job.noted',1767225720000,'{"event_id":"019b76dc-7cc0-7937-9909-93351ea45cd7","run_count":0,"name":"schedule.fired","data":"{\"count\":1,\"missed\":0,\"ticks\":[\"2026-01-01T00:02:00Z\"],\"target\":\"task:reports:eu\"}"}');
INSERT INTO "events" VALUES(8,'schedule:table:often','job.noted',1767225750000,'{"event_id":"019b76dc-f1f0-7e78-9e18-0580bb4a06cc","run_count":0,"name":"schedule.backfilled","data":"{\"count\":3,\"missed\":0,\"ticks\":[\"2025-01-01T00:00:00Z\",\"2025-01-01T00:01:00Z\",\"2025-01-01T00:02:00Z\"],\"target\":\"task:reports:eu\"}"}');
INSERT INTO "events" VALUES(9,'task:notes:a','job.started',1767225750000,'{"event_id":"019b76dc-f1f0-7e78-9e18-0581bb4a06cc","run_count":0}');
INSERT INTO "events" VALUES(10,'topic:prices:eur','job.started',1767225750000,'{"event_id":"019b76dc-f1f0-7e78-9e18-0582bb4a06cc","run_count":0}');
INSERT INTO "events" VALUES(11,'topic:prices:usd','job.started',1767225750000,'{"event_id":"019b76dc-f1f0-7e78-9e18-0583bb4a06cc","run_count":0}');
INSERT INTO "events" VALUES(12,'task:far:a','job.started',1767225750000,'{"event_id":"019b76dc-f1f0-7faf-ab3f-aed2d29e8694","run_count":0}');
INSERT INTO "events" VALUES(13,'topic:prices:usd','job.noted',1767225750000,'{"event_id":"019b76dc-f1f0-7faf-ab3f-aed3d29e8694","run_count":0,"name":"topic.unsubscribed","data":"{\"subscriber\":\"task:notes:a\"}"}');
INSERT INTO "events" VALUES(14,'workflow:watcher:w','job.started',1767225750000,'{"event_id":"019b76dc-f1f0-7faf-ab3f-aed4d29e8694","run_count":1}');
INSERT INTO "events" VALUES(15,'workflow:watcher:w','job.executed',1767225750000,'{"event_id":"019b76dc-f1f0-7faf-ab3f-aed5d29e8694","run_count":1,"run_id":"019b76dc-f1f0-7faf-ab3f-aed4d29e8693","cause":"start","attempt":1,"delivery":1,"duration_ms":0,"told":["topic:prices:eur"]}');
INSERT INTO "events" VALUES(16,'workflow:imports:a','job.started',1767225750000,'{"event_id":"019b76dc-f1f0-7faf-ab3f-aed6d29e8694","run_count":0}');
INSERT INTO "events" VALUES(17,'workflow:imports:a','job.executed',1767225750000,'{"event_id":"019b76dc-f1f0-7faf-ab3f-aed7d29e8694","run_count":1,"run_id":"019b76dc-f1f0-7faf-ab3f-aed6d29e8693","cause":"start","attempt":1,"delivery":1,"duration_ms":0}');
INSERT INTO "events" VALUES(18,'workflow:imports:b','job.started',1767225750000,'{"event_id":"019b76dc-f1f0-7faf-ab3f-aed8d29e8694","run_count":0}');
INSERT INTO "events" VALUES(19,'workflow:imports:c','job.started',1767225750000,'{"event_id":"019b76dc-f1f0-7faf-ab3f-aed9d29e8694","run_count":0}');
INSERT INTO "events" VALUES(20,'workflow:imports:c','job.paused',1767225750000,'{"event_id":"019b76dc-f1f0-7faf-ab3f-aedad29e8694","run_count":0}');
INSERT INTO "events" VALUES(21,'topic:prices:eur','job.noted',1767225750000,'{"event_id":"019b76dc-f1f0-7173-87ec-dc7e27c56604","run_count":0,"name":"topic.sent","data":"{\"messages\":3,\"waiting\":0}"}');
INSERT INTO "events" VALUES(22,'workflow:watcher:w','job.executed',1767225750000,'{"event_id":"019b76dc-f1f0-7d6e-9fb9-ed3e2e978f3d","run_count":2,"run_id":"019b76dc-f1f0-7faf-ab3f-aed4d29e8693","cause":"alarm","attempt":1,"delivery":1,"duration_ms":0}');
INSERT INTO "events" VALUES(23,'topic:prices:usd','job.paused',1767225750000,'{"event_id":"019b76dc-f1f0-7d6e-9fb9-ed3f2e978f3d","run_count":0}');
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
INSERT INTO "instances" VALUES(1,4,'schedule','table','often','scheduled',1767225780000,NULL,'{"schedule":{"cron":null,"every":"1m","tz":"UTC","catch_up":"all","catch_up_limit":3,"stagger":null},"target":"task:reports:eu","action":"send","input":{"topic":"sales","day":null},"tick_field":"day"}',1,'{"anchor_ms":1767225600000,"next_ms":1767225780000,"owed_ms":null,"fired":[{"first_ms":1735689600000,"last_ms":1735689720000,"timing":{"cron":null,"every":"1m","tz":"UTC","catch_up":"once","catch_up_limit":null,"stagger":null},"anchor_ms":1767225600000},{"first_ms":1767225660000,"last_ms":1767225720000,"timing":{"cron":null,"every":"1m","tz":"UTC","catch_up":"once","catch_up_limit":null,"stagger":null},"anchor_ms":1767225600000}],"forgotten_ms":null}',1767225780000,NULL,NULL,NULL,NULL,0,0,NULL,1767225600000,1767225750000,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "instances" VALUES(2,1,'schedule','table','daily','scheduled',1767243600000,NULL,'{"schedule":{"cron":"0 6 * * *","every":null,"tz":"Europe/Berlin","catch_up":"once","catch_up_limit":null,"stagger":null},"target":"task:reports:eu","action":"send","input":{"topic":"sales","day":null},"tick_field":null}',1,'{"anchor_ms":1767225600000,"next_ms":1767243600000,"owed_ms":null,"fired":[],"forgotten_ms":null}',1767243600000,NULL,NULL,NULL,NULL,0,0,NULL,1767225600000,1767225600000,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "instances" VALUES(3,2,'schedule','table','paused','paused',NULL,NULL,'{"schedule":{"cron":null,"every":"1m","tz":"UTC","catch_up":"all","catch_up_limit":3,"stagger":null},"target":"task:reports:eu","action":"send","input":{"topic":"sales","day":null},"tick_field":null}',1,'{"anchor_ms":1767225600000,"next_ms":1767225660000,"owed_ms":null,"fired":[],"forgotten_ms":null}',1767225660000,'paused',NULL,NULL,NULL,0,0,NULL,1767225600000,1767225600000,NULL,0,NULL,NULL,NULL,NULL,NULL,1767225600000);
INSERT INTO "instances" VALUES(4,5,'task','reports','eu','idle',NULL,NULL,'[{"topic":"sales","day":"2026-01-01T00:01:00+00:00"},{"topic":"sales","day":"2026-01-01T00:02:00+00:00"},{"topic":"sales","day":"2025-01-01T00:00:00+00:00"},{"topic":"sales","day":"2025-01-01T00:01:00+00:00"},{"topic":"sales","day":"2025-01-01T00:02:00+00:00"}]',1,'',NULL,NULL,NULL,NULL,NULL,0,5,NULL,1767225660000,1767225750000,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "instances" VALUES(5,2,'task','notes','a','idle',NULL,NULL,'[0,80]',1,'',NULL,NULL,NULL,NULL,NULL,0,2,NULL,1767225750000,1767225750000,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "instances" VALUES(6,4,'topic','prices','eur','idle',NULL,NULL,'{"task:notes:a":{"since":1767225750000,"renewed":1767225750000},"task:far:a":{"since":1767225750001,"renewed":1767225750001},"workflow:watcher:w":{"since":1767225750002,"renewed":1767225750002}}',1,'{"last":1767225750002,"sent":0,"waiting":[]}',NULL,NULL,NULL,NULL,NULL,0,1,NULL,1767225750000,1767225750000,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "instances" VALUES(7,5,'topic','prices','usd','paused',NULL,NULL,'{"task:far:a":{"since":1767225750001,"renewed":1767225750001}}',1,'{"last":1767225750001,"sent":0,"waiting":[{"payload":"{\"cents\":70}","last":1767225750001}]}',1767225750000,'paused',NULL,NULL,NULL,0,1,NULL,1767225750000,1767225750000,NULL,0,NULL,NULL,NULL,NULL,NULL,1767225750000);
INSERT INTO "instances" VALUES(8,1,'task','far','a','idle',NULL,NULL,'[0]',1,'',NULL,NULL,NULL,NULL,NULL,0,1,NULL,1767225750000,1767225750000,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "instances" VALUES(9,4,'workflow','watcher','w','idle',NULL,NULL,'50',1,'{"run_id":"019b76dc-f1f0-7faf-ab3f-aed4d29e8693","started_ms":1767225750000,"first":null,"logged":0,"signals":1,"waiting":0,"skips":0,"failing":[],"waits_for":[{"path":"2","name":"signal prices:eur","at_ms":null,"began_ms":1767225750000}],"cancel":null,"ended":null,"parent":null,"parked":[],"unanswered":[]}',NULL,NULL,NULL,NULL,NULL,2,1,NULL,1767225750000,1767225750000,NULL,5,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "instances" VALUES(10,3,'workflow','imports','a','idle',NULL,NULL,'"a"',1,'{"run_id":"019b76dc-f1f0-7faf-ab3f-aed6d29e8693","started_ms":1767225750000,"first":null,"logged":0,"signals":0,"waiting":0,"skips":0,"failing":[],"waits_for":[{"path":"0","name":"signal go","at_ms":null,"began_ms":1767225750000}],"cancel":null,"ended":null,"parent":null,"parked":[],"unanswered":[]}',NULL,NULL,NULL,NULL,NULL,1,0,NULL,1767225750000,1767225750000,NULL,1,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "instances" VALUES(11,2,'workflow','imports','b','queued',NULL,NULL,'"b"',1,'{"run_id":"019b76dc-f1f0-7faf-ab3f-aed8d29e8693","started_ms":1767225750000,"first":null,"logged":0,"signals":1,"waiting":1,"skips":0,"failing":[],"waits_for":[],"cancel":null,"ended":null,"parent":null,"parked":[],"unanswered":[]}',1767225750000,NULL,NULL,NULL,NULL,0,1,NULL,1767225750000,1767225750000,NULL,1,'start',1767225750000,NULL,NULL,NULL,NULL);
INSERT INTO "instances" VALUES(12,2,'workflow','imports','c','paused',NULL,NULL,'"c"',1,'{"run_id":"019b76dc-f1f0-7faf-ab3f-aed9d29e8693","started_ms":1767225750000,"first":null,"logged":0,"signals":0,"waiting":0,"skips":0,"failing":[],"waits_for":[],"cancel":null,"ended":null,"parent":null,"parked":[],"unanswered":[]}',1767225750000,'paused',NULL,NULL,NULL,0,0,NULL,1767225750000,1767225750000,NULL,0,'start',NULL,NULL,NULL,NULL,1767225750000);
CREATE TABLE journal (
  incarnation INTEGER NOT NULL,
  place INTEGER NOT NULL,
  body TEXT NOT NULL,
  PRIMARY KEY (incarnation, place)
) STRICT, WITHOUT ROWID;
INSERT INTO "journal" VALUES(9,0,'["0","tell topic:prices:eur.subscribe","mark",1767225750000,0,1]
');
INSERT INTO "journal" VALUES(9,1,'["","waits","waiting",1767225750000,0,1]
[["1","signal prices:eur",1767225750000]]');
INSERT INTO "journal" VALUES(9,2,'["","prices:eur","arrived",1767225750000,0,1,0,1]
{"key":"eur","value":{"cents":80}}');
INSERT INTO "journal" VALUES(9,3,'["1","signal prices:eur","done",1767225750000,0,1,0,1]
');
INSERT INTO "journal" VALUES(9,4,'["","waits","waiting",1767225750000,0,1]
[["2","signal prices:eur",1767225750000]]');
INSERT INTO "journal" VALUES(10,0,'["","waits","waiting",1767225750000,0,1]
[["0","signal go",1767225750000]]');
INSERT INTO "journal" VALUES(11,0,'["","go","arrived",1767225750000,0,1,0,1]
2');
CREATE TABLE keys (
  address TEXT NOT NULL,
  key TEXT NOT NULL,
  action TEXT NOT NULL,
  fingerprint TEXT NOT NULL,
  answer TEXT NOT NULL,
  expires_ms INTEGER NOT NULL, ordinal INTEGER NOT NULL DEFAULT 0, failures INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (address, key)
) STRICT, WITHOUT ROWID;
INSERT INTO "keys" VALUES('schedule:table:often','backfill','backfill','9750faaf499477558fd217a443c92f32VSDdNa/T2Thy','{"type":"Backfilled","fired":3,"skipped":0,"status":"scheduled"}',4920825750000,2,0);
INSERT INTO "keys" VALUES('schedule:table:often','put','put','dcc06ab0ca61b942ba0f5bdda52eae0cDD+NlB3/zk5DK4IYlB3/zk5Dgm80hTsZYnhm','{"type":"SchedulePut","created":true,"status":"scheduled","next_at":"2026-01-01T00:01:00+00:00"}',4920825600000,1,0);
INSERT INTO "keys" VALUES('topic:prices:eur','far','subscribe','75e52e41d652d556b602115f9f0c9775','{"type":"TopicSubscribed","created":true,"subscribers":2,"status":"idle"}',4920825750000,2,0);
INSERT INTO "keys" VALUES('topic:prices:eur','notes','subscribe','d3951fa1148b7c443cf87a6618e97f27','{"type":"TopicSubscribed","created":true,"subscribers":1,"status":"idle"}',4920825750000,1,0);
INSERT INTO "keys" VALUES('topic:prices:eur','publish','publish','c0e5545e149e964e25f3c239b8dafd6d','{"type":"TopicPublished","subscribers":3,"waiting":0,"status":"idle"}',4920825750000,3,0);
INSERT INTO "keys" VALUES('topic:prices:usd','unsubscribe','unsubscribe','d3951fa1148b7c443cf87a6618e97f27Vti9lB3/zk5D','{"type":"TopicUnsubscribed","removed":true,"subscribers":1,"status":"idle"}',4920825750000,1,0);
INSERT INTO "keys" VALUES('under_way:imports:workflow','under way','under way','','{"a":"019b76dc-f1f0-7faf-ab3f-aed6d29e8693"}',253402300799000,1,0);
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
INSERT INTO "messages" VALUES(8,'topic:prices:eur','task:far:a','subscribed:1767225750001:send','{"cents":80}',1767225750000,0,0,NULL,'head',NULL,NULL);
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
COMMIT;
