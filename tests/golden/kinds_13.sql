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
INSERT INTO "attribute_keys" VALUES(1,'v8000000000000003','a',39);
INSERT INTO "attribute_keys" VALUES(1,'v8000000000000003','b',41);
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
INSERT INTO "attributes" VALUES(1,'task','notes','amount','945b7586f77bebae','whole','',1);
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
INSERT INTO "counters" VALUES(1,45,14,101);
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
INSERT INTO "events" VALUES(1,'workflow:orders:sleeps','job.started',1767225600000,'{"event_id":"019b76da-a800-7705-a08a-0f45a9ec0807","run_count":1}');
INSERT INTO "events" VALUES(2,'workflow:orders:sleeps','job.executed',1767225600000,'{"event_id":"019b76da-a800-7d92-a759-0f09fbb230bc","run_count":1,"run_id":"019b76da-a800-7705-a08a-0f45a9ec0806","cause":"start","attempt":1,"delivery":1,"duration_ms":0}');
INSERT INTO "events" VALUES(3,'workflow:orders:large','job.started',1767225600000,'{"event_id":"019b76da-a800-7d92-a759-0f0afbb230bc","run_count":1}');
INSERT INTO "events" VALUES(4,'workflow:orders:large','job.executed',1767225600000,'{"event_id":"019b76da-a800-7f0e-9a75-257781355c54","run_count":1,"run_id":"019b76da-a800-7d92-a759-0f0afbb230bb","cause":"start","attempt":1,"delivery":1,"duration_ms":0}');
INSERT INTO "events" VALUES(5,'workflow:orders:parent','job.started',1767225600000,'{"event_id":"019b76da-a800-7f0e-9a75-257881355c54","run_count":1}');
INSERT INTO "events" VALUES(6,'workflow:orders:parent','job.executed',1767225600000,'{"event_id":"019b76da-a800-7f0e-9a75-257981355c54","run_count":1,"run_id":"019b76da-a800-7f0e-9a75-257881355c53","cause":"start","attempt":1,"delivery":1,"duration_ms":0,"told":["workflow:children:parent 0","workflow:children:parent 1"]}');
INSERT INTO "events" VALUES(7,'workflow:children:parent 1','job.started',1767225600000,'{"event_id":"019b76da-a800-7f0e-9a75-257a81355c54","run_count":0,"told_by":"workflow:orders:parent"}');
INSERT INTO "events" VALUES(8,'workflow:children:parent 0','job.started',1767225600000,'{"event_id":"019b76da-a800-7f9b-8e6c-8725055455e9","run_count":0,"told_by":"workflow:orders:parent"}');
INSERT INTO "events" VALUES(9,'workflow:children:parent 1','job.executed',1767225600000,'{"event_id":"019b76da-a800-7f9b-8e6c-8726055455e9","run_count":1,"run_id":"019b76da-a800-7f0e-9a75-257a81355c53","cause":"alarm","attempt":1,"delivery":1,"duration_ms":0}');
INSERT INTO "events" VALUES(10,'workflow:children:parent 0','job.executed',1767225600000,'{"event_id":"019b76da-a800-7f9b-8e6c-8727055455e9","run_count":1,"run_id":"019b76da-a800-7f9b-8e6c-8725055455e8","cause":"alarm","attempt":1,"delivery":1,"duration_ms":0}');
INSERT INTO "events" VALUES(11,'workflow:orders:parallel','job.started',1767225600000,'{"event_id":"019b76da-a800-7f9b-8e6c-8728055455e9","run_count":1}');
INSERT INTO "events" VALUES(12,'workflow:orders:parallel','job.executed',1767225600000,'{"event_id":"019b76da-a800-7f9b-8e6c-8729055455e9","run_count":1,"run_id":"019b76da-a800-7f9b-8e6c-8728055455e8","cause":"start","attempt":1,"delivery":1,"duration_ms":0}');
INSERT INTO "events" VALUES(13,'workflow:orders:saga','job.started',1767225600000,'{"event_id":"019b76da-a800-7f9b-8e6c-872a055455e9","run_count":1}');
INSERT INTO "events" VALUES(14,'workflow:orders:saga','job.executed',1767225600000,'{"event_id":"019b76da-a800-7f9b-8e6c-872b055455e9","run_count":1,"run_id":"019b76da-a800-7f9b-8e6c-872a055455e8","cause":"start","attempt":1,"delivery":1,"duration_ms":0}');
INSERT INTO "events" VALUES(15,'workflow:orders:again','job.started',1767225600000,'{"event_id":"019b76da-a800-7f9b-8e6c-872c055455e9","run_count":1}');
INSERT INTO "events" VALUES(16,'workflow:orders:again','job.executed',1767225600000,'{"event_id":"019b76da-a800-7f9b-8e6c-872d055455e9","run_count":1,"run_id":"019b76da-a800-7f9b-8e6c-872c055455e8","cause":"start","attempt":1,"delivery":1,"duration_ms":0}');
INSERT INTO "events" VALUES(17,'workflow:orders:again','job.executed',1767225600000,'{"event_id":"019b76da-a800-7f9b-8e6c-872e055455e9","run_count":2,"run_id":"019b76da-a800-7f9b-8e6c-872d055455e8","cause":"alarm","attempt":1,"delivery":1,"duration_ms":0}');
INSERT INTO "events" VALUES(18,'workflow:orders:patched','job.started',1767225600000,'{"event_id":"019b76da-a800-7f9b-8e6c-872f055455e9","run_count":1}');
INSERT INTO "events" VALUES(19,'workflow:orders:patched','job.executed',1767225600000,'{"event_id":"019b76da-a800-7f9b-8e6c-8730055455e9","run_count":1,"run_id":"019b76da-a800-7f9b-8e6c-872f055455e8","cause":"start","attempt":1,"delivery":1,"duration_ms":0}');
INSERT INTO "events" VALUES(20,'workflow:orders:fails','job.started',1767225600000,'{"event_id":"019b76da-a800-7f9b-8e6c-8731055455e9","run_count":1}');
INSERT INTO "events" VALUES(21,'workflow:orders:fails','job.failed',1767225600000,'{"event_id":"019b76da-a800-7f9b-8e6c-8732055455e9","run_count":1,"run_id":"019b76da-a800-7f9b-8e6c-8731055455e8","hook":"run","attempt":1,"delivery":1,"duration_ms":0,"error":{"form":"failure","error_type":"Declined","message":"Declined(why=''declined'')","data":null,"traceback":null},"retry_at_ms":null}');
INSERT INTO "events" VALUES(22,'workflow:orders:retries','job.started',1767225600000,'{"event_id":"019b76da-a800-7f9b-8e6c-8733055455e9","run_count":1}');
INSERT INTO "events" VALUES(23,'workflow:orders:retries','job.executed',1767225600000,'{"event_id":"019b76da-a800-7f9b-8e6c-8734055455e9","run_count":1,"run_id":"019b76da-a800-7f9b-8e6c-8733055455e8","cause":"start","attempt":1,"delivery":1,"duration_ms":0}');
INSERT INTO "events" VALUES(24,'workflow:orders:breaks','job.started',1767225600000,'{"event_id":"019b76da-a800-7f9b-8e6c-8735055455e9","run_count":1}');
INSERT INTO "events" VALUES(25,'workflow:orders:breaks','job.failed',1767225600000,'{"event_id":"019b76da-a800-7f9b-8e6c-8736055455e9","run_count":1,"run_id":"019b76da-a800-7f9b-8e6c-8735055455e8","hook":"run","attempt":1,"delivery":1,"duration_ms":0,"error":{"form":"defect","error_type":"RuntimeError","message":"broken","data":null,"traceback":"Traceback (most recent call last):\n  File \"src/perdure/programs/interpreter.py\", line 277, in interpret\n    current = payload.send(value)\n              ^^^^^^^^^^^^^^^^^^^\n  File \"tests/golden/later_kinds.py\", line 179, in breaks\n    raise RuntimeError(\"broken\")\nRuntimeError: broken\n"},"retry_at_ms":null}');
INSERT INTO "events" VALUES(26,'workflow:orders:breaks','job.parked',1767225600000,'{"event_id":"019b76da-a800-7f9b-8e6c-8736055455ea","run_count":1,"reason":"retries_exhausted","detail":"step run: broken"}');
INSERT INTO "events" VALUES(27,'workflow:orders:batch','job.started',1767225600000,'{"event_id":"019b76da-a800-7f9b-8e6c-8737055455e9","run_count":1}');
INSERT INTO "events" VALUES(28,'workflow:orders:batch','job.executed',1767225600000,'{"event_id":"019b76da-a800-7f9b-8e6c-8738055455e9","run_count":1,"run_id":"019b76da-a800-7f9b-8e6c-8737055455e8","cause":"start","attempt":1,"delivery":1,"duration_ms":0,"told":["batch:batches:waiting"]}');
INSERT INTO "events" VALUES(29,'batch:batches:waiting','job.started',1767225600000,'{"event_id":"019b76da-a800-7f9b-8e6c-8739055455e9","run_count":0,"told_by":"workflow:orders:batch"}');
INSERT INTO "events" VALUES(30,'workflow:orders:waits','job.started',1767225600000,'{"event_id":"019b76da-a800-7f9b-8e6c-873a055455e9","run_count":1}');
INSERT INTO "events" VALUES(31,'workflow:orders:waits','job.executed',1767225600000,'{"event_id":"019b76da-a800-7f9b-8e6c-873b055455e9","run_count":1,"run_id":"019b76da-a800-7f9b-8e6c-873a055455e8","cause":"start","attempt":1,"delivery":1,"duration_ms":0}');
INSERT INTO "events" VALUES(32,'workflow:orders:by key','job.started',1767225600000,'{"event_id":"019b76da-a800-7f9b-8e6c-873c055455e9","run_count":1}');
INSERT INTO "events" VALUES(33,'workflow:orders:by key','job.executed',1767225600000,'{"event_id":"019b76da-a800-7f9b-8e6c-873d055455e9","run_count":1,"run_id":"019b76da-a800-7f9b-8e6c-873c055455e8","cause":"start","attempt":1,"delivery":1,"duration_ms":0}');
INSERT INTO "events" VALUES(34,'workflow:orders:answers','job.started',1767225600000,'{"event_id":"019b76da-a800-7f9b-8e6c-873e055455e9","run_count":1}');
INSERT INTO "events" VALUES(35,'workflow:orders:answers','job.executed',1767225600000,'{"event_id":"019b76da-a800-7f9b-8e6c-873f055455e9","run_count":1,"run_id":"019b76da-a800-7f9b-8e6c-873e055455e8","cause":"start","attempt":1,"delivery":1,"duration_ms":0}');
INSERT INTO "events" VALUES(36,'workflow:orders:promise','job.started',1767225600000,'{"event_id":"019b76da-a800-7fca-9d8a-8ae9ec5df2c8","run_count":1}');
INSERT INTO "events" VALUES(37,'workflow:orders:promise','job.executed',1767225600000,'{"event_id":"019b76da-a800-7fca-9d8a-8aeaec5df2c8","run_count":1,"run_id":"019b76da-a800-7fca-9d8a-8ae9ec5df2c7","cause":"start","attempt":1,"delivery":1,"duration_ms":0}');
INSERT INTO "events" VALUES(38,'workflow:orders:race','job.started',1767225600000,'{"event_id":"019b76da-a800-7fca-9d8a-8aebec5df2c8","run_count":1}');
INSERT INTO "events" VALUES(39,'workflow:orders:race','job.executed',1767225600000,'{"event_id":"019b76da-a800-7fca-9d8a-8aecec5df2c8","run_count":1,"run_id":"019b76da-a800-7fca-9d8a-8aebec5df2c7","cause":"start","attempt":1,"delivery":1,"duration_ms":0}');
INSERT INTO "events" VALUES(40,'workflow:orders:done','job.started',1767225600000,'{"event_id":"019b76da-a800-7fca-9d8a-8aedec5df2c8","run_count":1}');
INSERT INTO "events" VALUES(41,'workflow:orders:done','job.executed',1767225600000,'{"event_id":"019b76da-a800-7fca-9d8a-8aeeec5df2c8","run_count":1,"run_id":"019b76da-a800-7fca-9d8a-8aedec5df2c7","cause":"start","attempt":1,"delivery":1,"duration_ms":0}');
INSERT INTO "events" VALUES(42,'workflow:orders:paused','job.started',1767225600000,'{"event_id":"019b76da-a800-7fca-9d8a-8aefec5df2c8","run_count":1}');
INSERT INTO "events" VALUES(43,'workflow:orders:paused','job.executed',1767225600000,'{"event_id":"019b76da-a800-7fca-9d8a-8af0ec5df2c8","run_count":1,"run_id":"019b76da-a800-7fca-9d8a-8aefec5df2c7","cause":"start","attempt":1,"delivery":1,"duration_ms":0}');
INSERT INTO "events" VALUES(44,'workflow:orders:stopped','job.started',1767225600000,'{"event_id":"019b76da-a800-7fca-9d8a-8af1ec5df2c8","run_count":1}');
INSERT INTO "events" VALUES(45,'workflow:orders:stopped','job.executed',1767225600000,'{"event_id":"019b76da-a800-7fca-9d8a-8af2ec5df2c8","run_count":1,"run_id":"019b76da-a800-7fca-9d8a-8af1ec5df2c7","cause":"start","attempt":1,"delivery":1,"duration_ms":0}');
INSERT INTO "events" VALUES(46,'workflow:orders:later','job.started',1767225600000,'{"event_id":"019b76da-a800-7fca-9d8a-8af3ec5df2c8","run_count":0}');
INSERT INTO "events" VALUES(47,'workflow:orders:large state','job.started',1767225600000,'{"event_id":"019b76da-a800-7fca-9d8a-8af4ec5df2c8","run_count":0}');
INSERT INTO "events" VALUES(48,'workflow:orders:large state','job.executed',1767225600000,'{"event_id":"019b76da-a800-7fca-9d8a-8af5ec5df2c8","run_count":1,"run_id":"019b76da-a800-7fca-9d8a-8af4ec5df2c7","cause":"alarm","attempt":1,"delivery":1,"duration_ms":0}');
INSERT INTO "events" VALUES(49,'workflow:orders:signalled','job.started',1767225600000,'{"event_id":"019b76da-a800-7fca-9d8a-8af6ec5df2c8","run_count":0}');
INSERT INTO "events" VALUES(50,'workflow:orders:signalled','job.executed',1767225600000,'{"event_id":"019b76da-a800-7fca-9d8a-8af7ec5df2c8","run_count":1,"run_id":"019b76da-a800-7fca-9d8a-8af6ec5df2c7","cause":"alarm","attempt":1,"delivery":1,"duration_ms":0}');
INSERT INTO "events" VALUES(51,'workflow:limited:0','job.started',1767225600000,'{"event_id":"019b76da-a800-7fca-9d8a-8af8ec5df2c8","run_count":0}');
INSERT INTO "events" VALUES(52,'workflow:limited:0','job.executed',1767225600000,'{"event_id":"019b76da-a800-7fca-9d8a-8af9ec5df2c8","run_count":1,"run_id":"019b76da-a800-7fca-9d8a-8af8ec5df2c7","cause":"start","attempt":1,"delivery":1,"duration_ms":0}');
INSERT INTO "events" VALUES(53,'workflow:limited:1','job.started',1767225600000,'{"event_id":"019b76da-a800-7fca-9d8a-8afaec5df2c8","run_count":0}');
INSERT INTO "events" VALUES(54,'workflow:limited:2','job.started',1767225600000,'{"event_id":"019b76da-a800-7fca-9d8a-8afbec5df2c8","run_count":0}');
INSERT INTO "events" VALUES(55,'pool:pool:done','job.started',1767225600000,'{"event_id":"019b76da-a800-7fca-9d8a-8afcec5df2c8","run_count":0}');
INSERT INTO "events" VALUES(56,'pool:pool:done','job.executed',1767225600000,'{"event_id":"019b76da-a800-7fca-9d8a-8afeec5df2c8","run_count":1,"run_id":"019b76da-a800-7fca-9d8a-8afdec5df2c7","cause":"alarm","attempt":1,"delivery":1,"duration_ms":0}');
INSERT INTO "events" VALUES(57,'pool:pool:declined','job.started',1767225600000,'{"event_id":"019b76da-a800-7fca-9d8a-8affec5df2c8","run_count":0}');
INSERT INTO "events" VALUES(58,'pool:pool:declined','job.failed',1767225600000,'{"event_id":"019b76da-a800-7fca-9d8a-8b01ec5df2c8","run_count":1,"run_id":"019b76da-a800-7fca-9d8a-8b00ec5df2c7","hook":"work","attempt":1,"delivery":1,"duration_ms":0,"error":{"form":"failure","error_type":"Declined","message":"Declined(why=''declined'')","data":"{\"why\":\"declined\"}","traceback":null},"retry_at_ms":1767308532842}');
INSERT INTO "events" VALUES(59,'pool:pool:later','job.started',1767225600000,'{"event_id":"019b76da-a800-7fca-9d8a-8b02ec5df2c8","run_count":0}');
INSERT INTO "events" VALUES(60,'pool:pool:large','job.started',1767225600000,'{"event_id":"019b76da-a800-7fca-9d8a-8b03ec5df2c8","run_count":0}');
INSERT INTO "events" VALUES(61,'pool:pool:large','job.executed',1767225600000,'{"event_id":"019b76da-a800-7fca-9d8a-8b05ec5df2c8","run_count":1,"run_id":"019b76da-a800-7fca-9d8a-8b04ec5df2c7","cause":"alarm","attempt":1,"delivery":1,"duration_ms":0}');
INSERT INTO "events" VALUES(62,'batch:batches:open','job.started',1767225600000,'{"event_id":"019b76da-a800-7fca-9d8a-8b06ec5df2c8","run_count":0}');
INSERT INTO "events" VALUES(63,'pool:pool:b2','job.started',1767225600000,'{"event_id":"019b76da-a800-7fca-9d8a-8b07ec5df2c8","run_count":0,"told_by":"batch:batches:open"}');
INSERT INTO "events" VALUES(64,'pool:pool:b1','job.started',1767225600000,'{"event_id":"019b76da-a800-7fca-9d8a-8b08ec5df2c8","run_count":0,"told_by":"batch:batches:open"}');
INSERT INTO "events" VALUES(65,'pool:pool:b2','job.failed',1767225600000,'{"event_id":"019b76da-a800-7fca-9d8a-8b0aec5df2c8","run_count":1,"run_id":"019b76da-a800-7fca-9d8a-8b09ec5df2c7","hook":"work","attempt":1,"delivery":1,"duration_ms":0,"error":{"form":"failure","error_type":"Declined","message":"Declined(why=''declined'')","data":"{\"why\":\"declined\"}","traceback":null},"retry_at_ms":1767308028403}');
INSERT INTO "events" VALUES(66,'pool:pool:b1','job.executed',1767225600000,'{"event_id":"019b76da-a800-7fca-9d8a-8b0cec5df2c8","run_count":1,"run_id":"019b76da-a800-7fca-9d8a-8b0bec5df2c7","cause":"alarm","attempt":1,"delivery":1,"duration_ms":0,"told":["batch:batches:open"]}');
INSERT INTO "events" VALUES(67,'batch:batches:sealed','job.started',1767225600000,'{"event_id":"019b76da-a800-7fca-9d8a-8b0dec5df2c8","run_count":0}');
INSERT INTO "events" VALUES(68,'pool:pool:b3','job.started',1767225600000,'{"event_id":"019b76da-a800-7fca-9d8a-8b0eec5df2c8","run_count":0,"told_by":"batch:batches:sealed"}');
INSERT INTO "events" VALUES(69,'pool:pool:b3','job.executed',1767225600000,'{"event_id":"019b76da-a800-7fca-9d8a-8b10ec5df2c8","run_count":1,"run_id":"019b76da-a800-7fca-9d8a-8b0fec5df2c7","cause":"alarm","attempt":1,"delivery":1,"duration_ms":0,"told":["batch:batches:sealed"]}');
INSERT INTO "events" VALUES(70,'batch:batches:sealed','job.noted',1767225600000,'{"event_id":"019b76da-a800-7fca-9d8a-8b11ec5df2c8","run_count":0,"name":"batch.done","data":"{\"put\":1,\"done\":1,\"failed\":0,\"cancelled\":0,\"existed\":0,\"sealed\":true,\"ended_at\":\"2026-01-01T00:00:00+00:00\",\"failures\":[]}"}');
INSERT INTO "events" VALUES(71,'pool:pool:b4','job.started',1767225600000,'{"event_id":"019b76da-a800-7fca-9d8a-8b12ec5df2c8","run_count":0,"told_by":"batch:batches:waiting"}');
INSERT INTO "events" VALUES(72,'task:notes:a','job.started',1767225600000,'{"event_id":"019b76da-a800-7fca-9d8a-8b13ec5df2c8","run_count":0}');
INSERT INTO "events" VALUES(73,'task:notes:a','job.accepted',1767225600000,'{"event_id":"019b76da-a800-7fca-9d8a-8b13ec5df2c9","run_count":0,"action":"send","received_at_ms":1767225600000,"payload":"{\"text\":\"first\"}"}');
INSERT INTO "events" VALUES(74,'topic:news:eur','job.started',1767225600000,'{"event_id":"019b76da-a800-7fca-9d8a-8b14ec5df2c8","run_count":0}');
INSERT INTO "events" VALUES(75,'task:notes:b','job.started',1767225600000,'{"event_id":"019b76da-a800-7fca-9d8a-8b15ec5df2c8","run_count":0}');
INSERT INTO "events" VALUES(76,'task:notes:b','job.accepted',1767225600000,'{"event_id":"019b76da-a800-7fca-9d8a-8b15ec5df2c9","run_count":0,"action":"send","received_at_ms":1767225600000,"payload":"{\"text\":\"first\"}"}');
INSERT INTO "events" VALUES(77,'schedule:table:nightly','job.started',1767225600000,'{"event_id":"019b76da-a800-7fca-9d8a-8b16ec5df2c8","run_count":0}');
INSERT INTO "events" VALUES(78,'schedule:table:paused','job.started',1767225600000,'{"event_id":"019b76da-a800-7fca-9d8a-8b17ec5df2c8","run_count":0}');
INSERT INTO "events" VALUES(79,'workflow:orders:by key','job.executed',1767225660000,'{"event_id":"019b76db-9260-713c-997b-81193f77675c","run_count":2,"run_id":"019b76da-a800-7f9b-8e6c-873c055455e8","cause":"alarm","attempt":1,"delivery":1,"duration_ms":0}');
INSERT INTO "events" VALUES(80,'workflow:orders:sleeps','job.executed',1767225660000,'{"event_id":"019b76db-9260-772d-a01a-00d2fdf9117c","run_count":2,"run_id":"019b76da-a800-7705-a08a-0f45a9ec0806","cause":"alarm","attempt":1,"delivery":1,"duration_ms":0}');
INSERT INTO "events" VALUES(81,'workflow:orders:paused','job.paused',1767225660000,'{"event_id":"019b76db-9260-7ed9-909a-df5526c7cfe6","run_count":1}');
INSERT INTO "events" VALUES(82,'workflow:orders:saga','job.executed',1767225660000,'{"event_id":"019b76db-9260-7ed9-909a-df5626c7cfe6","run_count":2,"run_id":"019b76da-a800-7f9b-8e6c-872a055455e8","cause":"alarm","attempt":1,"delivery":1,"duration_ms":0}');
INSERT INTO "events" VALUES(83,'workflow:orders:stopped','job.executed',1767225660000,'{"event_id":"019b76db-9260-7ed9-909a-df5726c7cfe6","run_count":2,"run_id":"019b76da-a800-7fca-9d8a-8af1ec5df2c7","cause":"alarm","attempt":1,"delivery":1,"duration_ms":0}');
INSERT INTO "events" VALUES(84,'workflow:orders:promise','job.executed',1767225660000,'{"event_id":"019b76db-9260-7ed9-909a-df5826c7cfe6","run_count":2,"run_id":"019b76da-a800-7fca-9d8a-8ae9ec5df2c7","cause":"alarm","attempt":1,"delivery":1,"duration_ms":0}');
INSERT INTO "events" VALUES(85,'workflow:orders:answers','job.executed',1767225660000,'{"event_id":"019b76db-9260-7ed9-909a-df5926c7cfe6","run_count":2,"run_id":"019b76da-a800-7f9b-8e6c-873e055455e8","cause":"alarm","attempt":1,"delivery":1,"duration_ms":0}');
INSERT INTO "events" VALUES(86,'workflow:orders:answers','job.executed',1767225661000,'{"event_id":"019b76db-9648-789e-bb29-4817d2854022","run_count":3,"run_id":"019b76da-a800-7f9b-8e6c-873e055455e8","cause":"alarm","attempt":1,"delivery":1,"duration_ms":0}');
INSERT INTO "events" VALUES(87,'workflow:orders:answers','job.executed',1767225661000,'{"event_id":"019b76db-9648-7955-8426-eb4c8044b1fc","run_count":4,"run_id":"019b76da-a800-7f9b-8e6c-873e055455e8","cause":"alarm","attempt":1,"delivery":1,"duration_ms":0}');
INSERT INTO "events" VALUES(88,'workflow:orders:answers','job.executed',1767225661000,'{"event_id":"019b76db-9648-7955-8426-eb4d8044b1fc","run_count":5,"run_id":"019b76da-a800-7f9b-8e6c-873e055455e8","cause":"alarm","attempt":1,"delivery":1,"duration_ms":0}');
INSERT INTO "events" VALUES(89,'workflow:orders:forked','job.started',1767225661000,'{"event_id":"019b76db-9648-7955-8426-eb4e8044b1fc","run_count":0}');
INSERT INTO "events" VALUES(90,'workflow:orders:forked','job.noted',1767225661000,'{"event_id":"019b76db-9648-7955-8426-eb4e8044b1fd","run_count":0,"name":"workflow.forked_from","data":"{\"source\":\"workflow:orders:parallel\",\"step\":\"\",\"kept\":2}"}');
INSERT INTO "events" VALUES(91,'workflow:orders:forked','job.executed',1767225661000,'{"event_id":"019b76db-9648-7955-8426-eb4f8044b1fc","run_count":1,"run_id":"019b76db-9648-7955-8426-eb4e8044b1fb","cause":"alarm","attempt":1,"delivery":1,"duration_ms":0}');
INSERT INTO "events" VALUES(92,'workflow:orders:parallel','job.noted',1767225661000,'{"event_id":"019b76db-9648-7955-8426-eb508044b1fc","run_count":1,"name":"workflow.forked_into","data":"{\"fork\":\"workflow:orders:forked\",\"run_id\":\"019b76db-9648-7955-8426-eb4e8044b1fb\",\"step\":\"\"}"}');
INSERT INTO "events" VALUES(93,'schedule:table:paused','job.paused',1767225662000,'{"event_id":"019b76db-9a30-7bff-b8c2-7b1829ef95ea","run_count":0}');
INSERT INTO "events" VALUES(94,'task:notes:b','job.paused',1767225662000,'{"event_id":"019b76db-9a30-7e73-8ee6-d5ab328a7f0d","run_count":0}');
INSERT INTO "events" VALUES(95,'topic:news:eur','job.noted',1767225662000,'{"event_id":"019b76db-9a30-7e73-8ee6-d5ac328a7f0d","run_count":0,"name":"topic.sent","data":"{\"messages\":2,\"waiting\":0}"}');
INSERT INTO "events" VALUES(96,'task:notes:a','job.accepted',1767225662000,'{"event_id":"019b76db-9a30-7e73-8ee6-d5ad328a7f0d","run_count":0,"action":"send","received_at_ms":1767225662000,"payload":"{\"text\":\"published\"}","told_by":"topic:news:eur"}');
INSERT INTO "events" VALUES(97,'task:notes:b','job.accepted',1767225662000,'{"event_id":"019b76db-9a30-7e73-8ee6-d5ae328a7f0d","run_count":0,"action":"send","received_at_ms":1767225662000,"payload":"{\"text\":\"published\"}","told_by":"topic:news:eur"}');
INSERT INTO "events" VALUES(98,'topic:news:eur','job.noted',1767225662000,'{"event_id":"019b76db-9a30-7e73-8ee6-d5af328a7f0d","run_count":0,"name":"topic.sent","data":"{\"messages\":2,\"waiting\":0}"}');
INSERT INTO "events" VALUES(99,'task:notes:a','job.accepted',1767225662000,'{"event_id":"019b76db-9a30-7e73-8ee6-d5b0328a7f0d","run_count":0,"action":"send","received_at_ms":1767225662000,"payload":"{\"text\":\"waits\"}","told_by":"topic:news:eur"}');
INSERT INTO "events" VALUES(100,'task:notes:b','job.accepted',1767225662000,'{"event_id":"019b76db-9a30-7e73-8ee6-d5b1328a7f0d","run_count":0,"action":"send","received_at_ms":1767225662000,"payload":"{\"text\":\"waits\"}","told_by":"topic:news:eur"}');
INSERT INTO "events" VALUES(101,'pool:pool:busy','job.started',1767225662000,'{"event_id":"019b76db-9a30-7fd3-a94e-d5abd22cda45","run_count":0}');
CREATE TABLE holds (
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;
INSERT INTO "holds" VALUES('task','notes');
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
INSERT INTO "instances" VALUES(1,4,'workflow','orders','sleeps','scheduled',1767312000000,NULL,'{"program":"sleeps","text":"sleeps","cents":0}',1,'{"run_id":"019b76da-a800-7705-a08a-0f45a9ec0806","started_ms":1767225600000,"first":null,"logged":0,"signals":1,"waiting":1,"skips":0,"failing":[],"waits_for":[{"path":"1","name":"sleep","at_ms":1767312000000,"began_ms":1767225600000}],"cancel":null,"ended":null,"parent":null,"parked":[],"unanswered":[]}',1767312000000,NULL,NULL,NULL,NULL,2,1,NULL,1767225600000,1767225660000,NULL,3,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "instances" VALUES(2,3,'workflow','orders','large','scheduled',1767312000000,NULL,'{"program":"large","text":"large","cents":0}',1,'{"run_id":"019b76da-a800-7d92-a759-0f0afbb230bb","started_ms":1767225600000,"first":null,"logged":0,"signals":0,"waiting":0,"skips":0,"failing":[],"waits_for":[{"path":"1","name":"sleep","at_ms":1767312000000,"began_ms":1767225600000}],"cancel":null,"ended":null,"parent":null,"parked":[],"unanswered":[]}',1767312000000,NULL,NULL,NULL,NULL,1,0,NULL,1767225600000,1767225600000,NULL,5,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "instances" VALUES(3,2,'workflow','orders','parent','idle',NULL,NULL,'{"program":"parent","text":"parent","cents":0}',1,'{"run_id":"019b76da-a800-7f0e-9a75-257881355c53","started_ms":1767225600000,"first":null,"logged":0,"signals":0,"waiting":0,"skips":0,"failing":[],"waits_for":[{"path":"0.0.0","name":"child children:parent 0","at_ms":null,"began_ms":1767225600000},{"path":"0.1.0","name":"child children:parent 1","at_ms":null,"began_ms":1767225600000}],"cancel":null,"ended":null,"parent":null,"parked":[],"unanswered":[]}',NULL,NULL,NULL,NULL,NULL,1,0,NULL,1767225600000,1767225600000,NULL,2,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "instances" VALUES(4,2,'workflow','children','parent 1','scheduled',1767312000000,NULL,'{"program":"sleeps","text":"c1","cents":0}',1,'{"run_id":"019b76da-a800-7f0e-9a75-257a81355c53","started_ms":1767225600000,"first":null,"logged":0,"signals":0,"waiting":0,"skips":0,"failing":[],"waits_for":[{"path":"1","name":"sleep","at_ms":1767312000000,"began_ms":1767225600000}],"cancel":null,"ended":null,"parent":{"address":"workflow:orders:parent","call":"child 019b76da-a800-7f0e-9a75-257881355c53:0.1.0"},"parked":[],"unanswered":[]}',1767312000000,NULL,NULL,NULL,NULL,1,0,NULL,1767225600000,1767225600000,NULL,2,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "instances" VALUES(5,2,'workflow','children','parent 0','scheduled',1767312000000,NULL,'{"program":"sleeps","text":"c0","cents":0}',1,'{"run_id":"019b76da-a800-7f9b-8e6c-8725055455e8","started_ms":1767225600000,"first":null,"logged":0,"signals":0,"waiting":0,"skips":0,"failing":[],"waits_for":[{"path":"1","name":"sleep","at_ms":1767312000000,"began_ms":1767225600000}],"cancel":null,"ended":null,"parent":{"address":"workflow:orders:parent","call":"child 019b76da-a800-7f0e-9a75-257881355c53:0.0.0"},"parked":[],"unanswered":[]}',1767312000000,NULL,NULL,NULL,NULL,1,0,NULL,1767225600000,1767225600000,NULL,2,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "instances" VALUES(6,4,'workflow','orders','parallel','scheduled',1767312000000,NULL,'{"program":"parallel","text":"parallel","cents":0}',1,'{"run_id":"019b76da-a800-7f9b-8e6c-8728055455e8","started_ms":1767225600000,"first":null,"logged":0,"signals":0,"waiting":0,"skips":0,"failing":[],"waits_for":[{"path":"0.0.1","name":"sleep","at_ms":1767312000000,"began_ms":1767225600000},{"path":"0.1.1","name":"sleep","at_ms":1767312000000,"began_ms":1767225600000}],"cancel":null,"ended":null,"parent":null,"parked":[],"unanswered":[]}',1767312000000,NULL,NULL,NULL,NULL,1,0,NULL,1767225600000,1767225661000,NULL,3,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "instances" VALUES(7,5,'workflow','orders','saga','scheduled',1767312060000,NULL,'{"program":"saga","text":"saga","cents":0}',1,'{"run_id":"019b76da-a800-7f9b-8e6c-872a055455e8","started_ms":1767225600000,"first":null,"logged":0,"signals":0,"waiting":0,"skips":0,"failing":[],"waits_for":[{"path":"3","name":"sleep","at_ms":1767312060000,"began_ms":1767225660000}],"cancel":{"reason":"enough","delivered":true,"interrupt":false},"ended":null,"parent":null,"parked":[],"unanswered":[]}',1767312060000,NULL,NULL,NULL,NULL,2,0,NULL,1767225600000,1767225660000,NULL,5,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "instances" VALUES(8,4,'workflow','orders','again','scheduled',1767312000000,NULL,'{"program":"again","text":"over","cents":0}',1,'{"run_id":"019b76da-a800-7f9b-8e6c-872d055455e8","started_ms":1767225600000,"first":null,"logged":0,"signals":0,"waiting":0,"skips":0,"failing":[],"waits_for":[{"path":"1","name":"sleep","at_ms":1767312000000,"began_ms":1767225600000}],"cancel":null,"ended":null,"parent":null,"parked":[],"unanswered":[]}',1767312000000,NULL,NULL,NULL,NULL,2,0,NULL,1767225600000,1767225600000,NULL,2,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "instances" VALUES(9,2,'workflow','orders','patched','scheduled',1767312000000,NULL,'{"program":"patched","text":"patched","cents":0}',1,'{"run_id":"019b76da-a800-7f9b-8e6c-872f055455e8","started_ms":1767225600000,"first":null,"logged":0,"signals":0,"waiting":0,"skips":0,"failing":[],"waits_for":[{"path":"1","name":"sleep","at_ms":1767312000000,"began_ms":1767225600000}],"cancel":null,"ended":null,"parent":null,"parked":[],"unanswered":[]}',1767312000000,NULL,NULL,NULL,NULL,1,0,NULL,1767225600000,1767225600000,NULL,2,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "instances" VALUES(10,2,'workflow','orders','fails','done',NULL,NULL,'{"program":"fails","text":"fails","cents":0}',1,'{"run_id":"019b76da-a800-7f9b-8e6c-8731055455e8","started_ms":1767225600000,"first":null,"logged":0,"signals":0,"waiting":0,"skips":0,"failing":[],"waits_for":[],"cancel":null,"ended":{"form":"failed","value":"{\"form\":\"failure\",\"error_type\":\"Declined\",\"message\":\"Declined(why=''declined'')\",\"data\":null,\"traceback\":null}","at_ms":1767225600000},"parent":null,"parked":[],"unanswered":[]}',NULL,NULL,NULL,NULL,NULL,1,0,'{"form":"failure","error_type":"Declined","message":"Declined(why=''declined'')","data":null,"traceback":null}',1767225600000,1767225600000,NULL,1,NULL,NULL,1767225600000,NULL,NULL,NULL);
INSERT INTO "instances" VALUES(11,2,'workflow','orders','retries','scheduled',1767312000000,NULL,'{"program":"retries","text":"retries","cents":0}',1,'{"run_id":"019b76da-a800-7f9b-8e6c-8733055455e8","started_ms":1767225600000,"first":null,"logged":0,"signals":0,"waiting":0,"skips":0,"failing":[],"waits_for":[{"path":"1","name":"sleep","at_ms":1767312000000,"began_ms":1767225600000}],"cancel":null,"ended":null,"parent":null,"parked":[],"unanswered":[]}',1767312000000,NULL,NULL,NULL,NULL,1,0,NULL,1767225600000,1767225600000,NULL,2,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "instances" VALUES(12,2,'workflow','orders','breaks','parked',NULL,NULL,'{"program":"breaks","text":"breaks","cents":0}',1,'{"run_id":"019b76da-a800-7f9b-8e6c-8735055455e8","started_ms":1767225600000,"first":null,"logged":0,"signals":0,"waiting":0,"skips":0,"failing":[{"path":"","name":"run","attempts":1,"uncounted":0,"first_failed_ms":1767225600000,"at_ms":null,"reason":"max_attempts","error":{"form":"defect","error_type":"RuntimeError","message":"broken","data":null,"traceback":"Traceback (most recent call last):\n  File \"src/perdure/programs/interpreter.py\", line 277, in interpret\n    current = payload.send(value)\n              ^^^^^^^^^^^^^^^^^^^\n  File \"tests/golden/later_kinds.py\", line 179, in breaks\n    raise RuntimeError(\"broken\")\nRuntimeError: broken\n"}}],"waits_for":[],"cancel":null,"ended":null,"parent":null,"parked":[],"unanswered":[]}',NULL,'retries_exhausted','{"run_id":"019b76da-a800-7f9b-8e6c-8735055455e8","cause":"start","attempt":2,"first_failed_ms":1767225600000,"at_ms":1767225600000,"error":{"form":"defect","error_type":"RuntimeError","message":"broken","data":null,"traceback":"Traceback (most recent call last):\n  File \"src/perdure/programs/interpreter.py\", line 277, in interpret\n    current = payload.send(value)\n              ^^^^^^^^^^^^^^^^^^^\n  File \"tests/golden/later_kinds.py\", line 179, in breaks\n    raise RuntimeError(\"broken\")\nRuntimeError: broken\n"},"deliveries":0,"uncounted":1,"trace":null}',NULL,NULL,1,0,'{"form":"defect","error_type":"RuntimeError","message":"broken","data":null,"traceback":"Traceback (most recent call last):\n  File \"src/perdure/programs/interpreter.py\", line 277, in interpret\n    current = payload.send(value)\n              ^^^^^^^^^^^^^^^^^^^\n  File \"tests/golden/later_kinds.py\", line 179, in breaks\n    raise RuntimeError(\"broken\")\nRuntimeError: broken\n"}',1767225600000,1767225600000,NULL,1,NULL,NULL,NULL,NULL,NULL,1767225600000);
INSERT INTO "instances" VALUES(13,2,'workflow','orders','batch','idle',NULL,NULL,'{"program":"batch","text":"batch","cents":0}',1,'{"run_id":"019b76da-a800-7f9b-8e6c-8737055455e8","started_ms":1767225600000,"first":null,"logged":0,"signals":0,"waiting":0,"skips":0,"failing":[],"waits_for":[{"path":"0","name":"child batches:waiting","at_ms":null,"began_ms":1767225600000}],"cancel":null,"ended":null,"parent":null,"parked":[],"unanswered":[]}',NULL,NULL,NULL,NULL,NULL,1,0,NULL,1767225600000,1767225600000,NULL,1,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "instances" VALUES(14,3,'batch','batches','waiting','idle',NULL,NULL,'{"put":1,"done":0,"failed":0,"cancelled":0,"existed":0,"sealed":true,"ended_at":null,"failures":[]}',1,'{"run":"019b76da-a800-7f9b-8e6c-8739055455e8","waiters":[{"address":"workflow:orders:batch","call":"child 019b76da-a800-7f9b-8e6c-8737055455e8:0"}]}',NULL,NULL,NULL,NULL,NULL,0,0,NULL,1767225600000,1767225600000,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "instances" VALUES(15,2,'workflow','orders','waits','scheduled',1769817600000,NULL,'{"program":"waits","text":"waits","cents":0}',1,'{"run_id":"019b76da-a800-7f9b-8e6c-873a055455e8","started_ms":1767225600000,"first":null,"logged":0,"signals":0,"waiting":0,"skips":0,"failing":[],"waits_for":[{"path":"0.0.0","name":"signal approved","at_ms":null,"began_ms":1767225600000}],"cancel":null,"ended":null,"parent":null,"parked":[],"unanswered":[]}',1769817600000,NULL,NULL,NULL,NULL,1,0,NULL,1767225600000,1767225600000,NULL,1,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "instances" VALUES(16,4,'workflow','orders','by key','scheduled',1767312000000,NULL,'{"program":"by key","text":"by key","cents":0}',1,'{"run_id":"019b76da-a800-7f9b-8e6c-873c055455e8","started_ms":1767225600000,"first":null,"logged":0,"signals":1,"waiting":1,"skips":0,"failing":[],"waits_for":[{"path":"0","name":"sleep","at_ms":1767312000000,"began_ms":1767225600000}],"cancel":null,"ended":null,"parent":null,"parked":[],"unanswered":[]}',1767312000000,NULL,NULL,NULL,NULL,2,1,NULL,1767225600000,1767225660000,NULL,2,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "instances" VALUES(17,12,'workflow','orders','answers','scheduled',1767312061000,NULL,'{"program":"answers","text":"changed","cents":0}',1,'{"run_id":"019b76da-a800-7f9b-8e6c-873e055455e8","started_ms":1767225600000,"first":"{\"program\":\"answers\",\"text\":\"answers\",\"cents\":0}","logged":0,"signals":3,"waiting":1,"skips":0,"failing":[],"waits_for":[{"path":"8","name":"sleep","at_ms":1767312061000,"began_ms":1767225661000}],"cancel":null,"ended":null,"parent":null,"parked":[],"unanswered":[3],"shared":{"published":[{"name":"progress","value":"7","secret":false}],"watchers":[]}}',1767312061000,NULL,NULL,NULL,NULL,5,3,NULL,1767225600000,1767225661000,NULL,15,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "instances" VALUES(18,4,'workflow','orders','promise','done',NULL,NULL,'{"program":"promise","text":"promise","cents":0}',1,'{"run_id":"019b76da-a800-7fca-9d8a-8ae9ec5df2c7","started_ms":1767225600000,"first":null,"logged":0,"signals":0,"waiting":0,"skips":0,"failing":[],"waits_for":[],"cancel":null,"ended":{"form":"done","value":"\"5\"","at_ms":1767225660000},"parent":null,"parked":[],"unanswered":[],"shared":{"published":[{"name":"payment","value":"{\"type\":\"Fulfilled\",\"value\":5}","secret":false}],"watchers":[]}}',NULL,NULL,NULL,NULL,NULL,2,1,NULL,1767225600000,1767225660000,NULL,2,NULL,NULL,1767225660000,NULL,NULL,NULL);
INSERT INTO "instances" VALUES(19,2,'workflow','orders','race','scheduled',1767398400000,NULL,'{"program":"race","text":"race","cents":0}',1,'{"run_id":"019b76da-a800-7fca-9d8a-8aebec5df2c7","started_ms":1767225600000,"first":null,"logged":0,"signals":0,"waiting":0,"skips":0,"failing":[],"waits_for":[{"path":"0.0.0","name":"signal approved","at_ms":null,"began_ms":1767225600000},{"path":"0.1.0","name":"sleep","at_ms":1767398400000,"began_ms":1767225600000}],"cancel":null,"ended":null,"parent":null,"parked":[],"unanswered":[]}',1767398400000,NULL,NULL,NULL,NULL,1,0,NULL,1767225600000,1767225600000,NULL,1,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "instances" VALUES(20,2,'workflow','orders','done','done',NULL,NULL,'{"program":"done","text":"done","cents":0}',1,'{"run_id":"019b76da-a800-7fca-9d8a-8aedec5df2c7","started_ms":1767225600000,"first":null,"logged":0,"signals":0,"waiting":0,"skips":0,"failing":[],"waits_for":[],"cancel":null,"ended":{"form":"done","value":"\"DONE\"","at_ms":1767225600000},"parent":null,"parked":[],"unanswered":[]}',NULL,NULL,NULL,NULL,NULL,1,0,NULL,1767225600000,1767225600000,NULL,1,NULL,NULL,1767225600000,NULL,NULL,NULL);
INSERT INTO "instances" VALUES(21,3,'workflow','orders','paused','paused',NULL,NULL,'{"program":"sleeps","text":"paused","cents":0}',1,'{"run_id":"019b76da-a800-7fca-9d8a-8aefec5df2c7","started_ms":1767225600000,"first":null,"logged":0,"signals":0,"waiting":0,"skips":0,"failing":[],"waits_for":[{"path":"1","name":"sleep","at_ms":1767312000000,"began_ms":1767225600000}],"cancel":null,"ended":null,"parent":null,"parked":[],"unanswered":[]}',1767312000000,'paused',NULL,NULL,NULL,1,0,NULL,1767225600000,1767225660000,NULL,2,NULL,NULL,NULL,NULL,NULL,1767225660000);
INSERT INTO "instances" VALUES(22,4,'workflow','orders','stopped','done',NULL,NULL,'{"program":"sleeps","text":"stopped","cents":0}',1,'{"run_id":"019b76da-a800-7fca-9d8a-8af1ec5df2c7","started_ms":1767225600000,"first":null,"logged":0,"signals":0,"waiting":0,"skips":0,"failing":[],"waits_for":[],"cancel":{"reason":"stop","delivered":true,"interrupt":false},"ended":{"form":"cancelled","value":"\"stop\"","at_ms":1767225660000},"parent":null,"parked":[],"unanswered":[]}',NULL,NULL,NULL,NULL,NULL,2,0,NULL,1767225600000,1767225660000,NULL,3,NULL,NULL,1767225660000,NULL,NULL,NULL);
INSERT INTO "instances" VALUES(23,1,'workflow','orders','later','scheduled',1767229200000,NULL,'{"program":"sleeps","text":"later","cents":0}',1,'{"run_id":"019b76da-a800-7fca-9d8a-8af3ec5df2c7","started_ms":1767229200000,"first":null,"logged":0,"signals":0,"waiting":0,"skips":0,"failing":[],"waits_for":[],"cancel":null,"ended":null,"parent":null,"parked":[],"unanswered":[],"shared":null,"forked":null,"deadline_ms":1768006800000}',1767229200000,NULL,NULL,NULL,NULL,0,0,NULL,1767225600000,1767225600000,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "instances" VALUES(24,2,'workflow','orders','large state','scheduled',1767312000000,NULL,'@[6540,1,"e38238f510a8eea0be6ea8cf18d28509","90df46aaf2aaa4850880210606aa12bb","41856cb42700209afd565f0a627ca8ce","2f4fed20960dc0e9518ed03b5a370b01"]',1,'{"run_id":"019b76da-a800-7fca-9d8a-8af4ec5df2c7","started_ms":1767225600000,"first":null,"logged":0,"signals":0,"waiting":0,"skips":0,"failing":[],"waits_for":[{"path":"1","name":"sleep","at_ms":1767312000000,"began_ms":1767225600000}],"cancel":null,"ended":null,"parent":null,"parked":[],"unanswered":[]}',1767312000000,NULL,NULL,NULL,NULL,1,0,NULL,1767225600000,1767225600000,NULL,6,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "instances" VALUES(25,2,'workflow','orders','signalled','scheduled',1769817600000,NULL,'{"program":"waits","text":"","cents":0}',1,'{"run_id":"019b76da-a800-7fca-9d8a-8af6ec5df2c7","started_ms":1767225600000,"first":null,"logged":0,"signals":1,"waiting":1,"skips":0,"failing":[],"waits_for":[{"path":"0.0.0","name":"signal approved","at_ms":null,"began_ms":1767225600000}],"cancel":null,"ended":null,"parent":null,"parked":[],"unanswered":[]}',1769817600000,NULL,NULL,NULL,NULL,1,1,NULL,1767225600000,1767225600000,NULL,2,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "instances" VALUES(26,3,'workflow','limited','0','scheduled',1767312000000,NULL,'{"program":"sleeps","text":"limited 0","cents":0}',1,'{"run_id":"019b76da-a800-7fca-9d8a-8af8ec5df2c7","started_ms":1767225600000,"first":null,"logged":0,"signals":0,"waiting":0,"skips":0,"failing":[],"waits_for":[{"path":"1","name":"sleep","at_ms":1767312000000,"began_ms":1767225600000}],"cancel":null,"ended":null,"parent":null,"parked":[],"unanswered":[]}',1767312000000,NULL,NULL,NULL,NULL,1,0,NULL,1767225600000,1767225600000,NULL,2,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "instances" VALUES(27,1,'workflow','limited','1','queued',NULL,NULL,'{"program":"sleeps","text":"limited 1","cents":0}',1,'{"run_id":"019b76da-a800-7fca-9d8a-8afaec5df2c7","started_ms":1767225600000,"first":null,"logged":0,"signals":0,"waiting":0,"skips":0,"failing":[],"waits_for":[],"cancel":null,"ended":null,"parent":null,"parked":[],"unanswered":[]}',1767225600000,NULL,NULL,NULL,NULL,0,0,NULL,1767225600000,1767225600000,NULL,0,'start',1767225600000,NULL,NULL,NULL,NULL);
INSERT INTO "instances" VALUES(28,1,'workflow','limited','2','queued',NULL,NULL,'{"program":"sleeps","text":"limited 2","cents":0}',1,'{"run_id":"019b76da-a800-7fca-9d8a-8afbec5df2c7","started_ms":1767225600000,"first":null,"logged":0,"signals":0,"waiting":0,"skips":0,"failing":[],"waits_for":[],"cancel":null,"ended":null,"parent":null,"parked":[],"unanswered":[]}',1767225600000,NULL,NULL,NULL,NULL,0,0,NULL,1767225600000,1767225600000,NULL,0,'start',1767225600000,NULL,NULL,NULL,NULL);
INSERT INTO "instances" VALUES(29,3,'pool','pool','done','done',1769817600000,NULL,'"done"',1,'{"key":"","head_start_ms":0,"result":"\"DONE\""}',1769817600000,NULL,NULL,NULL,NULL,1,0,NULL,1767225600000,1767225600000,NULL,0,NULL,NULL,1767225600000,NULL,NULL,NULL);
INSERT INTO "instances" VALUES(30,3,'pool','pool','declined','retrying',1767308532842,NULL,'"declined"',1,'{"key":"","head_start_ms":0,"result":null}',NULL,NULL,'{"run_id":"019b76da-a800-7fca-9d8a-8b00ec5df2c7","cause":"alarm","attempt":2,"first_failed_ms":1767225600000,"at_ms":1767308532842,"error":{"form":"failure","error_type":"Declined","message":"Declined(why=''declined'')","data":"{\"why\":\"declined\"}","traceback":null},"deliveries":0,"uncounted":0,"trace":null}',NULL,NULL,1,0,'{"form":"failure","error_type":"Declined","message":"Declined(why=''declined'')","data":"{\"why\":\"declined\"}","traceback":null}',1767225600000,1767225600000,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "instances" VALUES(31,1,'pool','pool','later','scheduled',1767398400000,NULL,'"later"',1,'{"key":"","head_start_ms":0,"result":null}',1767398400000,NULL,NULL,NULL,NULL,0,0,NULL,1767225600000,1767225600000,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "instances" VALUES(32,3,'pool','pool','large','done',1769817600000,NULL,'@[5002,1,"df4f8391735cdcf3b5aa8e97cdf428cc","94dbbd2ce9c2921179fa840dc22c0ef8","e3effc6a9306288a3a436de0aeaf58b8"]',1,'{"key":"","head_start_ms":0,"result":"\"XXXXXXXXXXXXXXXXXXXX\""}',1769817600000,NULL,NULL,NULL,NULL,1,0,NULL,1767225600000,1767225600000,NULL,3,NULL,NULL,1767225600000,NULL,NULL,NULL);
INSERT INTO "instances" VALUES(33,2,'batch','batches','open','idle',NULL,NULL,'{"put":2,"done":1,"failed":0,"cancelled":0,"existed":0,"sealed":false,"ended_at":null,"failures":[]}',1,'{"run":"019b76da-a800-7fca-9d8a-8b06ec5df2c7","waiters":[]}',NULL,NULL,NULL,NULL,NULL,0,0,NULL,1767225600000,1767225600000,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "instances" VALUES(34,3,'pool','pool','b2','retrying',1767308028403,NULL,'"declined"',1,'["019b76da-a800-7fca-9d8a-8b06ec5df2c7 batch:batches:open",{"key":"","head_start_ms":0,"result":null}]',NULL,NULL,'{"run_id":"019b76da-a800-7fca-9d8a-8b09ec5df2c7","cause":"alarm","attempt":2,"first_failed_ms":1767225600000,"at_ms":1767308028403,"error":{"form":"failure","error_type":"Declined","message":"Declined(why=''declined'')","data":"{\"why\":\"declined\"}","traceback":null},"deliveries":0,"uncounted":0,"trace":null}',NULL,NULL,1,0,'{"form":"failure","error_type":"Declined","message":"Declined(why=''declined'')","data":"{\"why\":\"declined\"}","traceback":null}',1767225600000,1767225600000,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "instances" VALUES(35,3,'pool','pool','b1','done',1769817600000,NULL,'"one"',1,'["019b76da-a800-7fca-9d8a-8b06ec5df2c7 batch:batches:open",{"key":"","head_start_ms":0,"result":"\"ONE\""}]',1769817600000,NULL,NULL,NULL,NULL,1,0,NULL,1767225600000,1767225600000,NULL,0,NULL,NULL,1767225600000,NULL,NULL,NULL);
INSERT INTO "instances" VALUES(36,3,'batch','batches','sealed','done',1767830400000,NULL,'{"put":1,"done":1,"failed":0,"cancelled":0,"existed":0,"sealed":true,"ended_at":"2026-01-01T00:00:00+00:00","failures":[]}',1,'{"run":"019b76da-a800-7fca-9d8a-8b0dec5df2c7","waiters":[]}',1767830400000,NULL,NULL,NULL,NULL,0,0,NULL,1767225600000,1767225600000,NULL,0,NULL,NULL,1767225600000,NULL,NULL,NULL);
INSERT INTO "instances" VALUES(37,3,'pool','pool','b3','done',1769817600000,NULL,'"three"',1,'["019b76da-a800-7fca-9d8a-8b0dec5df2c7 batch:batches:sealed",{"key":"","head_start_ms":0,"result":"\"THREE\""}]',1769817600000,NULL,NULL,NULL,NULL,1,0,NULL,1767225600000,1767225600000,NULL,0,NULL,NULL,1767225600000,NULL,NULL,NULL);
INSERT INTO "instances" VALUES(38,1,'pool','pool','b4','scheduled',1767398400000,NULL,'"four"',1,'["019b76da-a800-7f9b-8e6c-8739055455e8 batch:batches:waiting",{"key":"","head_start_ms":0,"result":null}]',1767398400000,NULL,NULL,NULL,NULL,0,0,NULL,1767225600000,1767225600000,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "instances" VALUES(39,3,'task','notes','a','idle',NULL,NULL,'["first","published","waits"]',1,'',NULL,NULL,NULL,NULL,NULL,0,3,NULL,1767225600000,1767225662000,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "instances" VALUES(40,4,'topic','news','eur','idle',NULL,NULL,'{"task:notes:a":{"since":1767225600000,"renewed":1767225600000},"task:notes:b":{"since":1767225600001,"renewed":1767225600001}}',1,'{"last":1767225600001,"sent":0,"waiting":[]}',NULL,NULL,NULL,NULL,NULL,0,2,NULL,1767225600000,1767225662000,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "instances" VALUES(41,4,'task','notes','b','paused',NULL,NULL,'["first","published","waits"]',1,'',NULL,'paused',NULL,NULL,NULL,0,3,NULL,1767225600000,1767225662000,NULL,0,NULL,NULL,NULL,NULL,NULL,1767225662000);
INSERT INTO "instances" VALUES(42,1,'schedule','table','nightly','scheduled',1767236400000,NULL,'{"schedule":{"cron":"0 3 * * *","every":null,"tz":"UTC","catch_up":"once","catch_up_limit":null,"stagger":null},"target":"task:notes:a","action":"send","input":{"text":"nightly"},"tick_field":null}',1,'{"anchor_ms":1767225600000,"next_ms":1767236400000,"owed_ms":null,"fired":[],"forgotten_ms":null}',1767236400000,NULL,NULL,NULL,NULL,0,0,NULL,1767225600000,1767225600000,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "instances" VALUES(43,2,'schedule','table','paused','paused',NULL,NULL,'{"schedule":{"cron":null,"every":"1h","tz":"UTC","catch_up":"once","catch_up_limit":null,"stagger":null},"target":"task:notes:a","action":"send","input":{"text":"nightly"},"tick_field":null}',1,'{"anchor_ms":1767225600000,"next_ms":1767229200000,"owed_ms":null,"fired":[],"forgotten_ms":null}',1767229200000,'paused',NULL,NULL,NULL,0,0,NULL,1767225600000,1767225662000,NULL,0,NULL,NULL,NULL,NULL,NULL,1767225662000);
INSERT INTO "instances" VALUES(44,2,'workflow','orders','forked','scheduled',1767312061000,NULL,'{"program":"parallel","text":"parallel","cents":0}',1,'{"run_id":"019b76db-9648-7955-8426-eb4e8044b1fb","started_ms":1767225600000,"first":null,"logged":0,"signals":0,"waiting":0,"skips":0,"failing":[],"waits_for":[{"path":"0.0.1","name":"sleep","at_ms":1767312061000,"began_ms":1767225661000},{"path":"0.1.1","name":"sleep","at_ms":1767312061000,"began_ms":1767225661000}],"cancel":null,"ended":null,"parent":null,"parked":[],"unanswered":[],"shared":null,"forked":{"address":"workflow:orders:parallel","step":"","parts":[{"rows":2,"run_id":"019b76da-a800-7f9b-8e6c-8728055455e8","gap_ms":61000}]}}',1767312061000,NULL,NULL,NULL,NULL,1,0,NULL,1767225661000,1767225661000,NULL,3,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "instances" VALUES(45,2,'pool','pool','busy','running',NULL,1,'"long"',1,'{"key":"","head_start_ms":0,"result":null}',1767225662000,NULL,NULL,'{"owner":1,"cause":"alarm","run_id":"019b76db-9a30-7fd3-a94e-d5acd22cda44","claimed_ms":1767225662000,"attempt":1,"deliveries":1,"recoveries":0,"created":"before","action":null,"payload":null,"key":null,"message_id":null,"message_sender":null,"uncounted":0,"trace":null,"by":null}',NULL,1,0,NULL,1767225662000,1767225662000,NULL,0,'',NULL,NULL,NULL,NULL,NULL);
CREATE TABLE journal (
  incarnation INTEGER NOT NULL,
  place INTEGER NOT NULL,
  body TEXT NOT NULL,
  PRIMARY KEY (incarnation, place)
) STRICT, WITHOUT ROWID;
INSERT INTO "journal" VALUES(1,0,'["0","say","done",1767225600000,0,1]
"SLEEPS"');
INSERT INTO "journal" VALUES(1,1,'["","waits","waiting",1767225600000,0,1]
[["1","sleep",1767225600000]]');
INSERT INTO "journal" VALUES(1,2,'["","approved","arrived",1767225660000,0,1,0,1]
"early"');
INSERT INTO "journal" VALUES(2,0,'["","eee1f0571527130a94696043b68020a3","part",1767225600000,0,1]
"XXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX');
INSERT INTO "journal" VALUES(2,1,'["","4985200f77703453cdb07d258dadd3b3","part",1767225600000,0,1]
XXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX');
INSERT INTO "journal" VALUES(2,2,'["","9c76ffc8095922dc15fd9481829b91a4","part",1767225600000,0,1]
XXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX"');
INSERT INTO "journal" VALUES(2,3,'["0","say","done",1767225600000,0,1]
@[5002,"eee1f0571527130a94696043b68020a3","4985200f77703453cdb07d258dadd3b3","9c76ffc8095922dc15fd9481829b91a4"]');
INSERT INTO "journal" VALUES(2,4,'["","waits","waiting",1767225600000,0,1]
[["1","sleep",1767225600000]]');
INSERT INTO "journal" VALUES(3,0,'["0.0.0!","child children:parent 0","mark",1767225600000,0,1]
');
INSERT INTO "journal" VALUES(3,1,'["0.1.0!","child children:parent 1","mark",1767225600000,0,1]
');
INSERT INTO "journal" VALUES(4,0,'["0","say","done",1767225600000,0,1]
"C1"');
INSERT INTO "journal" VALUES(4,1,'["","waits","waiting",1767225600000,0,1]
[["1","sleep",1767225600000]]');
INSERT INTO "journal" VALUES(5,0,'["0","say","done",1767225600000,0,1]
"C0"');
INSERT INTO "journal" VALUES(5,1,'["","waits","waiting",1767225600000,0,1]
[["1","sleep",1767225600000]]');
INSERT INTO "journal" VALUES(6,0,'["0.0.0","say","done",1767225600000,0,1]
"LEFT"');
INSERT INTO "journal" VALUES(6,1,'["0.1.0","say","done",1767225600000,0,1]
"RIGHT"');
INSERT INTO "journal" VALUES(6,2,'["","waits","waiting",1767225600000,0,1]
[["0.0.1","sleep",1767225600000],["0.1.1","sleep",1767225600000]]');
INSERT INTO "journal" VALUES(7,0,'["0","say","done",1767225600000,0,1]
"BOOK TRIP"');
INSERT INTO "journal" VALUES(7,1,'["1","say","done",1767225600000,0,1]
"RESERVE"');
INSERT INTO "journal" VALUES(7,2,'["","waits","waiting",1767225600000,0,1]
[["2","signal approved",1767225600000]]');
INSERT INTO "journal" VALUES(7,3,'["","cancel","cancelled",1767225660000,0,1]
["enough",[],[]]');
INSERT INTO "journal" VALUES(7,4,'["","waits","waiting",1767225660000,0,1]
[["3","sleep",1767225660000]]');
INSERT INTO "journal" VALUES(8,0,'["0","say","done",1767225600000,0,1]
"OVER"');
INSERT INTO "journal" VALUES(8,1,'["","waits","waiting",1767225600000,0,1]
[["1","sleep",1767225600000]]');
INSERT INTO "journal" VALUES(9,0,'["0","patch p","mark",1767225600000,0,1]
');
INSERT INTO "journal" VALUES(9,1,'["","waits","waiting",1767225600000,0,1]
[["1","sleep",1767225600000]]');
INSERT INTO "journal" VALUES(10,0,'["0","say","failed",1767225600000,0,1]
{"why":"declined"}');
INSERT INTO "journal" VALUES(11,0,'["0","say","failed",1767225600000,0,1]
{"why":"declined"}');
INSERT INTO "journal" VALUES(11,1,'["","waits","waiting",1767225600000,0,1]
[["1","sleep",1767225600000]]');
INSERT INTO "journal" VALUES(12,0,'["0","say","done",1767225600000,0,1]
"BEFORE"');
INSERT INTO "journal" VALUES(13,0,'["0!","child batches:waiting","mark",1767225600000,0,1]
');
INSERT INTO "journal" VALUES(15,0,'["","waits","waiting",1767225600000,0,1]
[["0.0.0","signal approved",1767225600000]]');
INSERT INTO "journal" VALUES(16,0,'["","waits","waiting",1767225600000,0,1]
[["0","sleep",1767225600000]]');
INSERT INTO "journal" VALUES(16,1,'["","keyed:k","arrived",1767225660000,0,1,0,1]
{"key":"k","value":5}');
INSERT INTO "journal" VALUES(17,0,'["0","publish progress","done",1767225600000,0,1]
7');
INSERT INTO "journal" VALUES(17,1,'["1","emit tokens","done",1767225600000,0,1]
null');
INSERT INTO "journal" VALUES(17,2,'["2","emit tokens","done",1767225600000,0,1]
null');
INSERT INTO "journal" VALUES(17,3,'["","waits","waiting",1767225600000,0,1]
[["3","update spend",1767225600000]]');
INSERT INTO "journal" VALUES(17,4,'["","update:spend","arrived",1767225660000,0,1,0,1]
5');
INSERT INTO "journal" VALUES(17,5,'["3","update spend","done",1767225660000,60000,1,0,1]
');
INSERT INTO "journal" VALUES(17,6,'["","waits","waiting",1767225660000,0,1]
[["4","sleep",1767225660000]]');
INSERT INTO "journal" VALUES(17,7,'["4","sleep","done",1767225661000,1000,1]
');
INSERT INTO "journal" VALUES(17,8,'["5","reply spend","done",1767225661000,0,1]
[1,"done","6"]');
INSERT INTO "journal" VALUES(17,9,'["","waits","waiting",1767225661000,0,1]
[["6","update spend",1767225661000]]');
INSERT INTO "journal" VALUES(17,10,'["","update:spend","arrived",1767225661000,0,1,0,2]
500');
INSERT INTO "journal" VALUES(17,11,'["6","update spend","done",1767225661000,0,1,0,2]
');
INSERT INTO "journal" VALUES(17,12,'["7","reply spend","done",1767225661000,0,1]
[2,"failed","{\"why\":\"too much\"}"]');
INSERT INTO "journal" VALUES(17,13,'["","waits","waiting",1767225661000,0,1]
[["8","sleep",1767225661000]]');
INSERT INTO "journal" VALUES(17,14,'["","update:spend","arrived",1767225661000,0,1,0,3]
7');
INSERT INTO "journal" VALUES(18,0,'["","waits","waiting",1767225600000,0,1]
[["0","promise payment",1767225600000]]');
INSERT INTO "journal" VALUES(18,1,'["0","promise payment","done",1767225660000,60000,1]
{"type":"Fulfilled","value":5}');
INSERT INTO "journal" VALUES(19,0,'["","waits","waiting",1767225600000,0,1]
[["0.0.0","signal approved",1767225600000],["0.1.0","sleep",1767225600000]]');
INSERT INTO "journal" VALUES(20,0,'["0","say","done",1767225600000,0,1]
"DONE"');
INSERT INTO "journal" VALUES(21,0,'["0","say","done",1767225600000,0,1]
"PAUSED"');
INSERT INTO "journal" VALUES(21,1,'["","waits","waiting",1767225600000,0,1]
[["1","sleep",1767225600000]]');
INSERT INTO "journal" VALUES(22,0,'["0","say","done",1767225600000,0,1]
"STOPPED"');
INSERT INTO "journal" VALUES(22,1,'["","waits","waiting",1767225600000,0,1]
[["1","sleep",1767225600000]]');
INSERT INTO "journal" VALUES(22,2,'["","cancel","cancelled",1767225660000,0,1]
["stop",[],[]]');
INSERT INTO "journal" VALUES(24,0,'["","e38238f510a8eea0be6ea8cf18d28509","part",1767225600000,0,1]
{"program":"sleeps","text":"large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large sta');
INSERT INTO "journal" VALUES(24,1,'["","90df46aaf2aaa4850880210606aa12bb","part",1767225600000,0,1]
te, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large s');
INSERT INTO "journal" VALUES(24,2,'["","41856cb42700209afd565f0a627ca8ce","part",1767225600000,0,1]
tate, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large');
INSERT INTO "journal" VALUES(24,3,'["","2f4fed20960dc0e9518ed03b5a370b01","part",1767225600000,0,1]
 state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, large state, ","cents":0}');
INSERT INTO "journal" VALUES(24,4,'["0","say","done",1767225600000,0,1]
"LARGE STATE, LARGE S"');
INSERT INTO "journal" VALUES(24,5,'["","waits","waiting",1767225600000,0,1]
[["1","sleep",1767225600000]]');
INSERT INTO "journal" VALUES(25,0,'["","word","arrived",1767225600000,0,1,0,1]
"hello"');
INSERT INTO "journal" VALUES(25,1,'["","waits","waiting",1767225600000,0,1]
[["0.0.0","signal approved",1767225600000]]');
INSERT INTO "journal" VALUES(26,0,'["0","say","done",1767225600000,0,1]
"LIMITED 0"');
INSERT INTO "journal" VALUES(26,1,'["","waits","waiting",1767225600000,0,1]
[["1","sleep",1767225600000]]');
INSERT INTO "journal" VALUES(32,0,'["","df4f8391735cdcf3b5aa8e97cdf428cc","part",1767225600000,0,1]
"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx');
INSERT INTO "journal" VALUES(32,1,'["","94dbbd2ce9c2921179fa840dc22c0ef8","part",1767225600000,0,1]
xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx');
INSERT INTO "journal" VALUES(32,2,'["","e3effc6a9306288a3a436de0aeaf58b8","part",1767225600000,0,1]
xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"');
INSERT INTO "journal" VALUES(44,0,'["0.0.0","say","done",1767225600000,0,1]
"LEFT"');
INSERT INTO "journal" VALUES(44,1,'["0.1.0","say","done",1767225600000,0,1]
"RIGHT"');
INSERT INTO "journal" VALUES(44,2,'["","waits","waiting",1767225661000,0,1]
[["0.0.1","sleep",1767225661000],["0.1.1","sleep",1767225661000]]');
CREATE TABLE keys (
  address TEXT NOT NULL,
  key TEXT NOT NULL,
  action TEXT NOT NULL,
  fingerprint TEXT NOT NULL,
  answer TEXT NOT NULL,
  expires_ms INTEGER NOT NULL, ordinal INTEGER NOT NULL DEFAULT 0, failures INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (address, key)
) STRICT, WITHOUT ROWID;
INSERT INTO "keys" VALUES('batch:batches:sealed','batch','put','e49eef848c3127a26374ca9d9ee94ed4pxkDlB3/zk5Dxl5nwPyaMKFuz9qewPyaMKFu','{"type":"BatchChanged","accepted":true,"found":"absent","put":1,"status":"idle"}',4920825600000,1,0);
INSERT INTO "keys" VALUES('limit:lines:all','permits','permits','','{"held":{},"wants":{},"begun":[[1767225600250,6,1],[1767225662250,1,1]]}',1767229322000,1,0);
INSERT INTO "keys" VALUES('limit:lines:numbers','permits','permits','','{"concurrency":3}',253402300799000,1,0);
INSERT INTO "keys" VALUES('pool:pool:done','item','put','13021aaa93a0a6bcd72dc391ec569e55pxkDlB3/zk5Dxl5nwPyaMKFuz9qewPyaMKFu','{"type":"ItemPut","created":true,"status":"queued","due_at":null}',4920825600000,1,0);
INSERT INTO "keys" VALUES('task:notes:a','a','send','ffb0b12873e2aea249d3a51fe7534f57','{"type":"Sent","created":true,"status":"idle","scheduled_at":null}',4920825600000,1,0);
INSERT INTO "keys" VALUES('task:notes:b','b','send','ffb0b12873e2aea249d3a51fe7534f57','{"type":"Sent","created":true,"status":"idle","scheduled_at":null}',4920825600000,1,0);
INSERT INTO "keys" VALUES('topic:news:eur','event','publish','86fd618ae3ada5d784c07b735baf13f1','{"type":"TopicPublished","subscribers":2,"waiting":0,"status":"idle"}',4920825662000,1,0);
INSERT INTO "keys" VALUES('under_way:limited:workflow','under way','under way','','{"0":"019b76da-a800-7fca-9d8a-8af8ec5df2c7"}',253402300799000,1,0);
INSERT INTO "keys" VALUES('workflow:orders:again','again','start','7130664368935c88dba38ac040ee948dvSHCEkCkaEQD','{"type":"RunAnswer","created":true,"found":"absent","status":"scheduled","outcome":{"form":"completed","error":null,"at_ms":null,"reason":""}}',4920825600000,1,0);
INSERT INTO "keys" VALUES('workflow:orders:answers','answers','start','48c06aca1400c19693c7ba55e22d1e32vSHCEkCkaEQD','{"type":"RunAnswer","created":true,"found":"absent","status":"idle","outcome":{"form":"completed","error":null,"at_ms":null,"reason":""}}',4920825600000,1,0);
INSERT INTO "keys" VALUES('workflow:orders:answers','first','update.spend','6152bc863269f1d04b4d21185d6bb25e','{"type":"UpdateSent","accepted":true,"found":"running","ticket":"17.1.4","status":"scheduled"}',4920825660000,2,0);
INSERT INTO "keys" VALUES('workflow:orders:answers','second','update.spend','2c9e6405a3a56a18a2976460723b0623','{"type":"UpdateSent","accepted":true,"found":"running","ticket":"17.2.10","status":"scheduled"}',4920825661000,3,0);
INSERT INTO "keys" VALUES('workflow:orders:answers','third','update.spend','9e287f590d2dcbbf387bfb70928e621d','{"type":"UpdateSent","accepted":true,"found":"running","ticket":"17.3.14","status":"scheduled"}',4920825661000,4,0);
INSERT INTO "keys" VALUES('workflow:orders:batch','batch','start','242f6e55e7fd22d0ba47b0cddbcb4392vSHCEkCkaEQD','{"type":"RunAnswer","created":true,"found":"absent","status":"idle","outcome":{"form":"completed","error":null,"at_ms":null,"reason":""}}',4920825600000,1,0);
INSERT INTO "keys" VALUES('workflow:orders:breaks','breaks','start','3a8155b403a1fd97a7dee1f3a704ede1vSHCEkCkaEQD','{"type":"RunAnswer","created":true,"found":"absent","status":"parked","outcome":{"form":"failed","error":{"form":"defect","error_type":"RuntimeError","message":"broken","data":null,"traceback":"Traceback (most recent call last):\n  File \"src/perdure/programs/interpreter.py\", line 277, in interpret\n    current = payload.send(value)\n              ^^^^^^^^^^^^^^^^^^^\n  File \"tests/golden/later_kinds.py\", line 179, in breaks\n    raise RuntimeError(\"broken\")\nRuntimeError: broken\n"},"at_ms":null,"reason":""}}',4920825600000,1,0);
INSERT INTO "keys" VALUES('workflow:orders:by key','by key','start','d369163637c05be40a17e079e64e66dfvSHCEkCkaEQD','{"type":"RunAnswer","created":true,"found":"absent","status":"scheduled","outcome":{"form":"completed","error":null,"at_ms":null,"reason":""}}',4920825600000,1,0);
INSERT INTO "keys" VALUES('workflow:orders:done','done','start','056c865332e221d77ddadd80f1020d75vSHCEkCkaEQD','{"type":"RunAnswer","created":true,"found":"absent","status":"done","outcome":{"form":"completed","error":null,"at_ms":null,"reason":""}}',4920825600000,1,0);
INSERT INTO "keys" VALUES('workflow:orders:fails','fails','start','e5388e1b63522a1c5d988647b28fc9f7vSHCEkCkaEQD','{"type":"RunAnswer","created":true,"found":"absent","status":"done","outcome":{"form":"failed","error":{"form":"failure","error_type":"Declined","message":"Declined(why=''declined'')","data":null,"traceback":null},"at_ms":null,"reason":""}}',4920825600000,1,0);
INSERT INTO "keys" VALUES('workflow:orders:large','large','start','2aa62384905051302ad33d94cc343e9cvSHCEkCkaEQD','{"type":"RunAnswer","created":true,"found":"absent","status":"scheduled","outcome":{"form":"completed","error":null,"at_ms":null,"reason":""}}',4920825600000,1,0);
INSERT INTO "keys" VALUES('workflow:orders:parallel','parallel','start','a5339660e3232a708190716195a813davSHCEkCkaEQD','{"type":"RunAnswer","created":true,"found":"absent","status":"scheduled","outcome":{"form":"completed","error":null,"at_ms":null,"reason":""}}',4920825600000,1,0);
INSERT INTO "keys" VALUES('workflow:orders:parent','parent','start','60bc52a60c2d9dff99fd0fbffe43dfd5vSHCEkCkaEQD','{"type":"RunAnswer","created":true,"found":"absent","status":"idle","outcome":{"form":"completed","error":null,"at_ms":null,"reason":""}}',4920825600000,1,0);
INSERT INTO "keys" VALUES('workflow:orders:patched','patched','start','05d2a29c266cfafa475371eb6f4be2fbvSHCEkCkaEQD','{"type":"RunAnswer","created":true,"found":"absent","status":"scheduled","outcome":{"form":"completed","error":null,"at_ms":null,"reason":""}}',4920825600000,1,0);
INSERT INTO "keys" VALUES('workflow:orders:paused','paused','start','4cb6791fc586269f00b79ed197f89a8evSHCEkCkaEQD','{"type":"RunAnswer","created":true,"found":"absent","status":"scheduled","outcome":{"form":"completed","error":null,"at_ms":null,"reason":""}}',4920825600000,1,0);
INSERT INTO "keys" VALUES('workflow:orders:promise','paid','complete.payment','6152bc863269f1d04b4d21185d6bb25e','{"type":"PromiseSettled","accepted":true,"settled":"{\"type\":\"Fulfilled\",\"value\":5}","status":"scheduled"}',4920825660000,2,0);
INSERT INTO "keys" VALUES('workflow:orders:promise','promise','start','4212342c32aca9ed10f4e61492e68f12vSHCEkCkaEQD','{"type":"RunAnswer","created":true,"found":"absent","status":"idle","outcome":{"form":"completed","error":null,"at_ms":null,"reason":""}}',4920825600000,1,0);
INSERT INTO "keys" VALUES('workflow:orders:race','race','start','8ee4cd00820e219a9eef3bd03c5fd487vSHCEkCkaEQD','{"type":"RunAnswer","created":true,"found":"absent","status":"scheduled","outcome":{"form":"completed","error":null,"at_ms":null,"reason":""}}',4920825600000,1,0);
INSERT INTO "keys" VALUES('workflow:orders:retries','retries','start','4ba6340ebd64e1c627e622bfbba4401bvSHCEkCkaEQD','{"type":"RunAnswer","created":true,"found":"absent","status":"scheduled","outcome":{"form":"completed","error":null,"at_ms":null,"reason":""}}',4920825600000,1,0);
INSERT INTO "keys" VALUES('workflow:orders:saga','enough','cancel','8e5d758abe07a80037318164a4cc57c1','{"type":"Signalled","accepted":true,"found":"running","status":"scheduled"}',4920825660000,2,0);
INSERT INTO "keys" VALUES('workflow:orders:saga','saga','start','07ebb127b03a24cb63aae013b2265879vSHCEkCkaEQD','{"type":"RunAnswer","created":true,"found":"absent","status":"idle","outcome":{"form":"completed","error":null,"at_ms":null,"reason":""}}',4920825600000,1,0);
INSERT INTO "keys" VALUES('workflow:orders:sleeps','signal','signal.approved','ab3ab4e770afd3ee5814f7f86e58292d','{"type":"Signalled","accepted":true,"found":"running","status":"scheduled"}',4920825660000,2,0);
INSERT INTO "keys" VALUES('workflow:orders:sleeps','sleeps','start','1e55db70a8d767f57da82876f949bcf5vSHCEkCkaEQD','{"type":"RunAnswer","created":true,"found":"absent","status":"scheduled","outcome":{"form":"completed","error":null,"at_ms":null,"reason":""}}',4920825600000,1,0);
INSERT INTO "keys" VALUES('workflow:orders:stopped','stopped','start','dce5e69bf8f622b6807f836884c0df19vSHCEkCkaEQD','{"type":"RunAnswer","created":true,"found":"absent","status":"scheduled","outcome":{"form":"completed","error":null,"at_ms":null,"reason":""}}',4920825600000,1,0);
INSERT INTO "keys" VALUES('workflow:orders:waits','waits','start','4d6204ca509681cf19e815ac79e892f9vSHCEkCkaEQD','{"type":"RunAnswer","created":true,"found":"absent","status":"scheduled","outcome":{"form":"completed","error":null,"at_ms":null,"reason":""}}',4920825600000,1,0);
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
INSERT INTO "streams" VALUES(17,'tokens',0,0,55,'{"step":"1 emit tokens","again":false,"values":["one"]}');
INSERT INTO "streams" VALUES(17,'tokens',1,1,110,'{"step":"2 emit tokens","again":false,"values":["two"]}');
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
