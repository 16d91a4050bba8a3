-- The statements of the engine as functions: one round trip each, no transaction that a stalled client could hold open,
-- no state of a session. Sequential scans are off because statistics of young tables mislead the planner, and compilation
-- (jit) because the costs of a plan without scans begin it for each call: it takes twenty times as long as a commit.

CREATE FUNCTION perdure.digest(one text, other text) RETURNS bytea LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN substr(sha256(convert_to(length(one) || ':' || one || other, 'UTF8')), 1, 16);

CREATE FUNCTION perdure.bucket(address text) RETURNS smallint LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (get_byte(decode(md5(address), 'hex'), 0) % 64)::smallint;

-- Every writer holds this lock, shared, until its commit: whoever takes it exclusively waits for all of them, and the
-- reader of the log sees who is still writing.
CREATE FUNCTION perdure.enter(my_epoch bigint, how_durable text) RETURNS void LANGUAGE plpgsql SET jit = off AS $$
BEGIN
  PERFORM pg_advisory_xact_lock_shared(1885692516, 'perdure.instances'::regclass::oid::int);
  IF NOT EXISTS (SELECT FROM perdure.engines WHERE epoch = my_epoch AND state = 'open') THEN
    RAISE EXCEPTION 'epoch % has ended', my_epoch USING ERRCODE = 'PD001';
  END IF;
  IF how_durable = 'relaxed' THEN
    PERFORM set_config('synchronous_commit', 'off', true);
  ELSIF current_setting('synchronous_commit') = 'off' THEN
    PERFORM set_config('synchronous_commit', 'on', true);
  END IF;
END $$;

-- Move the base of the numbers of events, where the numbers of transactions are small again: in a copy of the database
-- in another cluster.
CREATE FUNCTION perdure.check_numbers() RETURNS void LANGUAGE sql AS $$
  UPDATE perdure.counters SET events_base = newest - (pg_current_xact_id()::text::bigint << 20) + (1 << 20)
  FROM (SELECT greatest((SELECT max(sequence) FROM perdure.events), (SELECT max(sequence) FROM perdure.cursors),
    (SELECT pruned_to FROM perdure.counters)) AS newest) AS found
  WHERE newest >= events_base + (pg_current_xact_id()::text::bigint << 20);
  DELETE FROM perdure.engines WHERE state <> 'open' AND opened_at < now() - interval '7 days';
$$;

-- End every earlier opening, and count this one. The engine calls it while it holds the lock of the owner.
CREATE FUNCTION perdure.own(my_label text) RETURNS TABLE (epoch bigint, ended bigint, sharing bigint) LANGUAGE plpgsql SET jit = off AS $$
#variable_conflict use_column
DECLARE
  count_ended bigint;
  count_sharing bigint;
BEGIN
  PERFORM pg_advisory_xact_lock(1885692516, 'perdure.instances'::regclass::oid::int);
  SELECT count(*) INTO count_sharing FROM perdure.engines WHERE state = 'open' AND lease_until > clock_timestamp();
  IF count_sharing > 0 THEN RETURN QUERY SELECT 0::bigint, 0::bigint, count_sharing; RETURN; END IF;
  UPDATE perdure.engines SET state = 'dead' WHERE state = 'open';
  GET DIAGNOSTICS count_ended = ROW_COUNT;
  PERFORM perdure.check_numbers();
  RETURN QUERY INSERT INTO perdure.engines (epoch, state, label) VALUES (nextval('perdure.epochs'), 'open', my_label)
    RETURNING epoch, count_ended, 0::bigint;
END $$;

-- Count this opening as a member with a lease; return 0 if an owner lives.
CREATE FUNCTION perdure.join_members(lease_ms bigint, my_label text) RETURNS bigint LANGUAGE plpgsql SET jit = off AS $$
DECLARE
  given bigint;
BEGIN
  PERFORM pg_advisory_xact_lock(1885692516, 'perdure.instances'::regclass::oid::int);
  IF EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND classid = 1885692517 AND granted
      AND objid = 'perdure.instances'::regclass::oid) THEN
    RETURN 0;
  END IF;
  UPDATE perdure.engines SET state = 'dead' WHERE state = 'open' AND lease_until IS NULL;
  PERFORM perdure.check_numbers();
  INSERT INTO perdure.engines (epoch, state, lease_until, label)
    VALUES (nextval('perdure.epochs'), 'open', clock_timestamp() + lease_ms * interval '1 ms', my_label)
    RETURNING epoch INTO given;
  RETURN given;
END $$;

-- Declare dead the other members whose lease has ended, and renew this one, by the clock of the server. Whoever declares
-- waits for the writers that are under way, so that a dead member writes nothing afterwards.
CREATE FUNCTION perdure.heartbeat(my_epoch bigint, my_served text, lease_ms bigint) RETURNS void LANGUAGE plpgsql SET jit = off AS $$
BEGIN
  IF EXISTS (SELECT FROM perdure.engines WHERE state = 'open' AND lease_until < clock_timestamp() AND epoch <> my_epoch) THEN
    PERFORM pg_advisory_xact_lock(1885692516, 'perdure.instances'::regclass::oid::int);
    UPDATE perdure.engines SET state = 'dead'
      WHERE state = 'open' AND lease_until < clock_timestamp() AND epoch <> my_epoch;
  END IF;
  UPDATE perdure.engines SET lease_until = clock_timestamp() + lease_ms * interval '1 ms', served = my_served
    WHERE epoch = my_epoch AND state = 'open';
  IF NOT FOUND THEN RAISE EXCEPTION 'epoch % has ended', my_epoch USING ERRCODE = 'PD001'; END IF;
END $$;

CREATE FUNCTION perdure.members()
RETURNS TABLE (epoch bigint, served text, joined_ms bigint, lease_left_ms bigint, label text, last_epoch bigint)
LANGUAGE sql STABLE AS $$
  SELECT e.epoch, e.served, (extract(epoch FROM e.opened_at) * 1000)::bigint,
    (extract(epoch FROM e.lease_until - clock_timestamp()) * 1000)::bigint, e.label, (SELECT max(epoch) FROM perdure.engines)
  FROM perdure.engines AS e WHERE e.state = 'open' AND e.lease_until IS NOT NULL ORDER BY e.epoch
$$;

-- Numbers of events grow in the order of transactions. A reader stays below the oldest transaction that still writes
-- events, so that no number appears after a greater one. Transactions of other applications do not delay it: they hold
-- no lock of the writers. One that ended during this look may have held it, so the look is repeated.
CREATE FUNCTION perdure.log_end() RETURNS bigint LANGUAGE plpgsql SET jit = off AS $$
DECLARE
  snapshot pg_snapshot;
  writing bigint;
  vanished bigint;
  base bigint;
BEGIN
  SELECT events_base INTO base FROM perdure.counters;
  FOR look IN 1..5 LOOP
    WITH now AS MATERIALIZED (SELECT pg_current_snapshot() AS is),
      running AS MATERIALIZED (SELECT pg_snapshot_xip(now.is) AS xid FROM now),
      locks AS MATERIALIZED (
        SELECT locktype, transactionid, classid, objid, virtualtransaction, mode, granted FROM pg_locks
        WHERE locktype IN ('transactionid', 'advisory') AND EXISTS (SELECT FROM running)),
      found AS (
        SELECT running.xid::text::bigint AS xid, t.virtualtransaction IS NULL AS is_over, EXISTS (
          SELECT FROM locks AS a WHERE a.virtualtransaction = t.virtualtransaction AND a.locktype = 'advisory'
            AND a.classid = 1885692516 AND a.objid = 'perdure.instances'::regclass::oid) AS is_writer
        FROM running LEFT JOIN locks AS t ON t.locktype = 'transactionid' AND t.transactionid = running.xid::xid
          AND t.mode = 'ExclusiveLock' AND t.granted)
      SELECT now.is, (SELECT min(xid) FROM found WHERE is_writer), (SELECT min(xid) FROM found WHERE is_over)
      INTO snapshot, writing, vanished FROM now;
    EXIT WHEN vanished IS NULL OR vanished > writing;
  END LOOP;
  RETURN base + (least(writing, vanished, pg_snapshot_xmax(snapshot)::text::bigint) << 20);
END $$;

CREATE FUNCTION perdure.append_events(e_address text[], e_type text[], e_at_ms bigint[], e_body text[]) RETURNS void
LANGUAGE plpgsql SET jit = off AS $$
DECLARE
  first bigint := (SELECT events_base FROM perdure.counters) + (pg_current_xact_id()::text::bigint << 20);
BEGIN
  INSERT INTO perdure.events (sequence, address, type, at_ms, body)
    SELECT first + e.place, e.address, e.type, e.at_ms, e.body
    FROM unnest(e_address, e_type, e_at_ms, e_body) WITH ORDINALITY AS e (address, type, at_ms, body, place);
END $$;

-- One group of transitions. Each statement sees what was committed before it began (READ COMMITTED). A group has an
-- address, and an inbound message, at most once. Rows are locked in the same order by every caller.
CREATE FUNCTION perdure.commit_group(
  my_epoch bigint, how_durable text,
  -- instances written over
  u_n int[], u_incarnation bigint[], u_version bigint[], u_kind text[], u_name text[], u_id text[],
  -- new instances
  i_n int[], i_bucket smallint[], i_kind text[], i_name text[], i_id text[],
  -- the columns of both: first those written over, then the new ones
  w_due_ms bigint[], w_owner bigint[], w_event_owner bigint[], w_lane text[], w_rank_ms bigint[], w_status text[], w_state text[], w_state_version int[],
  w_data text[], w_alarm_ms bigint[], w_suspension text[], w_pending_retry text[], w_claim text[], w_event_claim text[],
  w_run_count bigint[], w_event_count bigint[], w_last_error text[], w_created_ms bigint[], w_updated_ms bigint[],
  w_alarm_trace text[], w_journal_length int[], w_ended_ms bigint[],
  -- purged, where something was expected and where nothing was; left alone
  d_n int[], d_incarnation bigint[], d_version bigint[], d_kind text[], d_name text[], d_id text[],
  x_n int[], x_kind text[], x_name text[], x_id text[],
  k_n int[],
  -- journals that are cut, and rows of journals
  c_n int[], j_n int[], j_place int[], j_body text[],
  -- fates of messages
  f_n int[], f_message_id bigint[], f_fate text[], f_attempts int[], f_not_before_ms bigint[], f_error text[],
  -- messages out, own messages dropped, keys, events
  m_n int[], m_bucket smallint[], m_sender text[], m_target text[], m_action text[], m_payload text[], m_sent_ms bigint[],
  m_trace text[],
  o_n int[], o_address text[],
  r_n int[], r_address text[], r_key text[], r_action text[], r_fingerprint text[], r_answer text[], r_expires_ms bigint[],
  e_n int[], e_address text[], e_type text[], e_at_ms bigint[], e_body text[]
) RETURNS TABLE (n int, incarnation bigint) LANGUAGE plpgsql
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
  done int[] := '{}';
  incarnations bigint[] := '{}';
  more int[];
  conflicting int[] := '{}';
  living bigint[];
  updates int := cardinality(u_n);
BEGIN
  PERFORM perdure.enter(my_epoch, how_durable);
  IF cardinality(f_n) > 0 THEN
    SELECT array_agg(message_id) INTO living FROM
      (SELECT message_id FROM perdure.messages WHERE message_id = ANY(f_message_id) ORDER BY message_id FOR UPDATE) locked;
    SELECT coalesce(array_agg(f.n), '{}') INTO conflicting FROM unnest(f_n, f_message_id) AS f (n, message_id)
      WHERE living IS NULL OR f.message_id <> ALL(living);
  END IF;
  IF updates > 0 THEN
    WITH written AS (
      UPDATE perdure.instances AS i SET version = u.version + 1, due_ms = u.due_ms, owner = u.owner,
        event_owner = u.event_owner, lane = u.lane, rank_ms = u.rank_ms, status = u.status, state = u.state, state_version = u.state_version, data = u.data,
        alarm_ms = u.alarm_ms, suspension = u.suspension, pending_retry = u.pending_retry, claim = u.claim,
        event_claim = u.event_claim, run_count = u.run_count, event_count = u.event_count, last_error = u.last_error,
        created_ms = u.created_ms, updated_ms = u.updated_ms, alarm_trace = u.alarm_trace,
        journal_length = u.journal_length, ended_ms = u.ended_ms
      FROM unnest(u_n, u_incarnation, u_version, u_kind, u_name, u_id, w_due_ms[:updates], w_owner[:updates],
        w_event_owner[:updates], w_lane[:updates], w_rank_ms[:updates], w_status[:updates], w_state[:updates], w_state_version[:updates], w_data[:updates],
        w_alarm_ms[:updates], w_suspension[:updates], w_pending_retry[:updates], w_claim[:updates],
        w_event_claim[:updates], w_run_count[:updates], w_event_count[:updates], w_last_error[:updates],
        w_created_ms[:updates], w_updated_ms[:updates], w_alarm_trace[:updates], w_journal_length[:updates], w_ended_ms[:updates])
        AS u (n, incarnation, version, kind, name, id, due_ms, owner, event_owner, lane, rank_ms, status, state, state_version, data,
          alarm_ms, suspension, pending_retry, claim, event_claim, run_count, event_count, last_error, created_ms,
          updated_ms, alarm_trace, journal_length, ended_ms)
      WHERE i.incarnation = u.incarnation AND i.version = u.version AND i.kind = u.kind AND i.name = u.name
        AND i.id = u.id AND u.n <> ALL(conflicting)
      RETURNING u.n, i.incarnation
    ) SELECT coalesce(array_agg(written.n), '{}'), coalesce(array_agg(written.incarnation), '{}')
      INTO done, incarnations FROM written;
  END IF;
  IF cardinality(i_n) > 0 THEN
    WITH given AS (
      SELECT i.*, nextval('perdure.incarnations') AS incarnation
      FROM unnest(i_n, i_bucket, i_kind, i_name, i_id, w_due_ms[updates + 1:], w_owner[updates + 1:],
        w_event_owner[updates + 1:], w_lane[updates + 1:], w_rank_ms[updates + 1:], w_status[updates + 1:], w_state[updates + 1:], w_state_version[updates + 1:],
        w_data[updates + 1:], w_alarm_ms[updates + 1:], w_suspension[updates + 1:], w_pending_retry[updates + 1:],
        w_claim[updates + 1:], w_event_claim[updates + 1:], w_run_count[updates + 1:], w_event_count[updates + 1:],
        w_last_error[updates + 1:], w_created_ms[updates + 1:], w_updated_ms[updates + 1:],
        w_alarm_trace[updates + 1:], w_journal_length[updates + 1:], w_ended_ms[updates + 1:])
        AS i (n, bucket, kind, name, id, due_ms, owner, event_owner, lane, rank_ms, status, state, state_version, data, alarm_ms,
          suspension, pending_retry, claim, event_claim, run_count, event_count, last_error, created_ms, updated_ms,
          alarm_trace, journal_length, ended_ms)
      WHERE i.n <> ALL(conflicting)
    ), born AS (
      INSERT INTO perdure.instances (incarnation, version, bucket, kind, name, id, due_ms, owner, event_owner, lane, rank_ms,
        status, state, state_version, data, alarm_ms, suspension, pending_retry, claim, event_claim, run_count, event_count,
        last_error, created_ms, updated_ms, alarm_trace, journal_length, ended_ms)
      SELECT incarnation, 1, bucket, kind, name, id, due_ms, owner, event_owner, lane, rank_ms,
        status, state, state_version, data, alarm_ms, suspension, pending_retry, claim, event_claim, run_count, event_count,
        last_error, created_ms, updated_ms, alarm_trace, journal_length, ended_ms
      FROM given ORDER BY kind, name, id
      ON CONFLICT (kind, name, id) DO NOTHING RETURNING incarnation
    ) SELECT done || coalesce(array_agg(given.n), '{}'), incarnations || coalesce(array_agg(given.incarnation), '{}')
      INTO done, incarnations FROM born JOIN given USING (incarnation);
  END IF;
  IF cardinality(d_n) > 0 THEN
    WITH gone AS (
      DELETE FROM perdure.instances AS i USING unnest(d_n, d_incarnation, d_version, d_kind, d_name, d_id)
        AS d (n, incarnation, version, kind, name, id)
      WHERE i.incarnation = d.incarnation AND i.version = d.version AND i.kind = d.kind AND i.name = d.name
        AND i.id = d.id AND d.n <> ALL(conflicting)
      RETURNING d.n, i.incarnation, i.journal_length
    ), cut AS (
      DELETE FROM perdure.journal WHERE incarnation IN (SELECT gone.incarnation FROM gone WHERE gone.journal_length > 0)
    ) SELECT coalesce(array_agg(gone.n), '{}') INTO more FROM gone;
    done := done || more;
  END IF;
  IF cardinality(c_n) > 0 THEN
    DELETE FROM perdure.journal AS j USING unnest(done, incarnations) AS w (n, incarnation)
      WHERE w.n = ANY(c_n) AND j.incarnation = w.incarnation;
  END IF;
  IF cardinality(j_n) > 0 THEN
    INSERT INTO perdure.journal (incarnation, place, body)
      SELECT w.incarnation, j.place, j.body FROM unnest(j_n, j_place, j_body) AS j (n, place, body)
      JOIN unnest(done, incarnations) AS w (n, incarnation) ON w.n = j.n AND w.incarnation IS NOT NULL;
  END IF;
  IF cardinality(x_n) > 0 THEN
    SELECT coalesce(array_agg(x.n), '{}') INTO more FROM unnest(x_n, x_kind, x_name, x_id) AS x (n, kind, name, id)
      WHERE x.n <> ALL(conflicting) AND NOT EXISTS
        (SELECT FROM perdure.instances AS i WHERE i.kind = x.kind AND i.name = x.name AND i.id = x.id);
    done := done || more;
  END IF;
  IF cardinality(k_n) > 0 THEN
    SELECT coalesce(array_agg(k.n), '{}') INTO more FROM unnest(k_n) AS k (n) WHERE k.n <> ALL(conflicting);
    done := done || more;
  END IF;
  IF cardinality(f_n) > 0 THEN
    PERFORM perdure.settle(done, f_n, f_message_id, f_fate, f_attempts, f_not_before_ms, f_error);
  END IF;
  IF cardinality(m_n) > 0 THEN
    PERFORM perdure.send_group(my_epoch, done, m_n, m_bucket, m_sender, m_target, m_action, m_payload, m_sent_ms, m_trace);
  END IF;
  IF cardinality(o_n) > 0 THEN
    DELETE FROM perdure.messages AS m USING unnest(o_n, o_address) AS o (n, address)
      WHERE o.n = ANY(done) AND m.pair = perdure.digest(o.address, o.address);
    DELETE FROM perdure.dead_letters AS m USING unnest(o_n, o_address) AS o (n, address)
      WHERE o.n = ANY(done) AND m.pair = perdure.digest(o.address, o.address);
  END IF;
  IF cardinality(r_n) > 0 THEN
    INSERT INTO perdure.keys AS held (holder, id, address, key, action, fingerprint, answer, expires_ms)
      SELECT perdure.digest(r.address, ''), perdure.digest(r.key, ''), r.address, r.key, r.action, r.fingerprint,
        r.answer, r.expires_ms
      FROM unnest(r_n, r_address, r_key, r_action, r_fingerprint, r_answer, r_expires_ms)
        AS r (n, address, key, action, fingerprint, answer, expires_ms) WHERE r.n = ANY(done)
      ORDER BY 1, 2
      ON CONFLICT (holder, id) DO UPDATE SET (action, fingerprint, answer, expires_ms) =
        (excluded.action, excluded.fingerprint, excluded.answer, excluded.expires_ms);
  END IF;
  IF cardinality(e_n) > 0 THEN
    PERFORM perdure.append_events(array_agg(e.address ORDER BY e.place), array_agg(e.type ORDER BY e.place),
      array_agg(e.at_ms ORDER BY e.place), array_agg(e.body ORDER BY e.place))
      FROM unnest(e_n, e_address, e_type, e_at_ms, e_body) WITH ORDINALITY AS e (n, address, type, at_ms, body, place)
      WHERE e.n = ANY(done) HAVING count(*) > 0;
  END IF;
  RETURN QUERY SELECT * FROM unnest(done, incarnations);
END $$;

CREATE FUNCTION perdure.settle(
  done int[], f_n int[], f_message_id bigint[], f_fate text[], f_attempts int[], f_not_before_ms bigint[], f_error text[]
) RETURNS void LANGUAGE plpgsql SET jit = off AS $$
DECLARE
  pairs bytea[];
BEGIN
  UPDATE perdure.messages AS m SET attempts = f.attempts, not_before_ms = f.not_before_ms, error = f.error
    FROM unnest(f_n, f_message_id, f_fate, f_attempts, f_not_before_ms, f_error)
      AS f (n, message_id, fate, attempts, not_before_ms, error)
    WHERE f.fate = 'postponed' AND f.n = ANY(done) AND m.message_id = f.message_id;
  INSERT INTO perdure.dead_letters
      (message_id, pair, bucket, sender, target, action, payload, sent_ms, attempts, error, trace)
    SELECT m.message_id, m.pair, m.bucket, m.sender, m.target, m.action, m.payload, m.sent_ms, f.attempts, f.error, m.trace
    FROM unnest(f_n, f_message_id, f_fate, f_attempts, f_error) AS f (n, message_id, fate, attempts, error)
    JOIN perdure.messages AS m USING (message_id) WHERE f.fate = 'dead_lettered' AND f.n = ANY(done);
  WITH gone AS (
    DELETE FROM perdure.messages AS m USING unnest(f_n, f_message_id, f_fate) AS f (n, message_id, fate)
    WHERE f.fate IN ('consumed', 'dead_lettered') AND f.n = ANY(done) AND m.message_id = f.message_id RETURNING m.pair
  ) SELECT array_agg(DISTINCT gone.pair) INTO pairs FROM gone;
  -- A new statement: it sees the messages that senders committed while this one waited for the row locks above.
  IF pairs IS NOT NULL THEN
    UPDATE perdure.messages SET place = 'head' WHERE place <> 'head' AND message_id IN (
      SELECT (SELECT min(message_id) FROM perdure.messages AS m WHERE m.pair = p.pair) FROM unnest(pairs) AS p (pair));
  END IF;
END $$;

-- A sender that adds behind a message holds a lock on the head until its commit. The consumer of the head deletes it
-- either before that, and then the new message is the head, or after it, and then the consumer sees the new message.
CREATE FUNCTION perdure.send_group(
  my_epoch bigint, done int[], m_n int[], m_bucket smallint[], m_sender text[], m_target text[], m_action text[],
  m_payload text[], m_sent_ms bigint[], m_trace text[]
) RETURNS void LANGUAGE plpgsql SET jit = off AS $$
BEGIN
  PERFORM FROM perdure.messages AS m WHERE m.place = 'head' AND m.pair IN
    (SELECT perdure.digest(sent.sender, sent.target) FROM unnest(m_n, m_sender, m_target) AS sent (n, sender, target)
      WHERE sent.n = ANY(done))
    ORDER BY m.message_id FOR KEY SHARE;
  INSERT INTO perdure.messages
      (message_id, pair, bucket, origin, sender, target, action, payload, sent_ms, trace, place)
    SELECT nextval('perdure.message_ids'), pair, bucket, my_epoch, sender, target, action, payload, sent_ms, trace,
      CASE WHEN place_in_pair = 1 AND NOT EXISTS (SELECT FROM perdure.messages AS m WHERE m.pair = s.pair)
        THEN 'head' ELSE 'behind' END
    FROM (SELECT sent.*, row_number() OVER (PARTITION BY sent.pair ORDER BY sent.place) AS place_in_pair
      FROM (SELECT given.*, perdure.digest(given.sender, given.target) AS pair
        FROM unnest(m_n, m_bucket, m_sender, m_target, m_action, m_payload, m_sent_ms, m_trace) WITH ORDINALITY
          AS given (n, bucket, sender, target, action, payload, sent_ms, trace, place)
        WHERE given.n = ANY(done)) AS sent
      ORDER BY sent.place) AS s;
END $$;

CREATE FUNCTION perdure.redrive(
  my_epoch bigint, how_durable text, which bigint, e_address text[], e_type text[], e_at_ms bigint[], e_body text[]
) RETURNS boolean LANGUAGE plpgsql SET jit = off AS $$
DECLARE
  letter perdure.dead_letters;
BEGIN
  -- Alone: a sender that does not see the letter would make its own message the head.
  PERFORM pg_advisory_xact_lock(1885692516, 'perdure.instances'::regclass::oid::int);
  PERFORM perdure.enter(my_epoch, how_durable);
  DELETE FROM perdure.dead_letters WHERE message_id = which RETURNING * INTO letter;
  IF NOT FOUND THEN RETURN false; END IF;
  PERFORM FROM perdure.messages WHERE pair = letter.pair ORDER BY message_id FOR UPDATE;
  INSERT INTO perdure.messages
      (message_id, pair, bucket, origin, sender, target, action, payload, sent_ms, error, trace, place)
    VALUES (which, letter.pair, letter.bucket, my_epoch, letter.sender, letter.target, letter.action, letter.payload,
      letter.sent_ms, letter.error, letter.trace, 'behind');
  UPDATE perdure.messages AS m SET place = CASE WHEN m.message_id =
      (SELECT min(message_id) FROM perdure.messages AS o WHERE o.pair = letter.pair) THEN 'head' ELSE 'behind' END
    WHERE m.pair = letter.pair;
  PERFORM perdure.append_events(e_address, e_type, e_at_ms, e_body);
  RETURN true;
END $$;

CREATE FUNCTION perdure.move_cursor(
  my_epoch bigint, how_durable text, which text, place bigint, e_address text[], e_type text[], e_at_ms bigint[],
  e_body text[]
) RETURNS void LANGUAGE plpgsql SET jit = off AS $$
BEGIN
  PERFORM perdure.enter(my_epoch, how_durable);
  INSERT INTO perdure.cursors AS c (name, sequence) VALUES (which, place)
    ON CONFLICT (name) DO UPDATE SET sequence = excluded.sequence, deleted = 0 WHERE c.sequence < excluded.sequence;
  IF FOUND THEN PERFORM perdure.append_events(e_address, e_type, e_at_ms, e_body); END IF;
END $$;

CREATE FUNCTION perdure.set_hold(my_epoch bigint, how_durable text, job_kind text, job_name text, hold text)
RETURNS boolean LANGUAGE plpgsql SET jit = off AS $$
BEGIN
  PERFORM perdure.enter(my_epoch, how_durable);
  IF hold = 'held' THEN
    INSERT INTO perdure.holds (kind, name) VALUES (job_kind, job_name) ON CONFLICT DO NOTHING;
  ELSE
    DELETE FROM perdure.holds WHERE kind = job_kind AND name = job_name;
  END IF;
  RETURN FOUND;
END $$;

-- Delete up to a number of rows: expired keys, old dead letters, then the beginning of the log, up to the first event
-- that is kept. The newest events that are kept begin at keep_from.
CREATE FUNCTION perdure.prune(
  my_epoch bigint, how_durable text, until_ms bigint, letters_since_ms bigint, events_since_ms bigint, keep_from bigint,
  at_most int
) RETURNS int LANGUAGE plpgsql SET enable_seqscan = off SET jit = off AS $$
DECLARE
  gone int;
  removed int;
  bound bigint;
BEGIN
  PERFORM perdure.enter(my_epoch, how_durable);
  DELETE FROM perdure.keys WHERE (holder, id) IN
    (SELECT holder, id FROM perdure.keys WHERE expires_ms <= until_ms ORDER BY expires_ms LIMIT at_most FOR UPDATE SKIP LOCKED);
  GET DIAGNOSTICS removed = ROW_COUNT;
  DELETE FROM perdure.dead_letters WHERE message_id IN (SELECT message_id FROM perdure.dead_letters
    WHERE sent_ms < letters_since_ms ORDER BY sent_ms LIMIT at_most - removed FOR UPDATE SKIP LOCKED);
  GET DIAGNOSTICS gone = ROW_COUNT;
  removed := removed + gone;
  WITH oldest AS (SELECT sequence, at_ms FROM perdure.events ORDER BY sequence LIMIT at_most - removed)
    SELECT coalesce((SELECT min(sequence) FROM oldest WHERE at_ms >= events_since_ms AND sequence >= keep_from),
      (SELECT max(sequence) + 1 FROM oldest)) INTO bound;
  IF bound IS NOT NULL THEN
    UPDATE perdure.cursors SET deleted = deleted +
        (SELECT count(*) FROM perdure.events AS e WHERE e.sequence < bound AND e.sequence > cursors.sequence)
      WHERE sequence < bound - 1;
    DELETE FROM perdure.events WHERE sequence < bound;
    GET DIAGNOSTICS gone = ROW_COUNT;
    removed := removed + gone;
    IF gone > 0 THEN UPDATE perdure.counters SET pruned_to = bound - 1 WHERE pruned_to < bound - 1; END IF;
  END IF;
  RETURN removed;
END $$;

CREATE FUNCTION perdure.load_group(kinds text[], names text[], ids text[], keys text[], nows_ms bigint[])
RETURNS TABLE (n int, action text, fingerprint text, answer text, expires_ms bigint, held bigint,
  instance perdure.instances)
LANGUAGE plpgsql STABLE SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off SET jit = off AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY SELECT u.n::int, k.action, k.fingerprint, k.answer, k.expires_ms,
      CASE WHEN u.key IS NULL THEN 0 ELSE (SELECT count(*) FROM perdure.keys AS h
        WHERE h.holder = perdure.digest(u.kind || ':' || u.name || ':' || u.id, '') AND h.expires_ms > u.now_ms) END,
      i
    FROM unnest(kinds, names, ids, keys, nows_ms) WITH ORDINALITY AS u (kind, name, id, key, now_ms, n)
    LEFT JOIN perdure.instances AS i ON i.kind = u.kind AND i.name = u.name AND i.id = u.id
    LEFT JOIN perdure.keys AS k ON u.key IS NOT NULL AND k.expires_ms > u.now_ms
      AND k.holder = perdure.digest(u.kind || ':' || u.name || ':' || u.id, '') AND k.id = perdure.digest(u.key, '');
END $$;

CREATE FUNCTION perdure.due(now_ms bigint, after_ms bigint, after_incarnation bigint, at_most int, except_kinds text[],
  except_names text[])
RETURNS SETOF perdure.instances LANGUAGE plpgsql STABLE SET enable_seqscan = off SET jit = off AS $$
BEGIN
  RETURN QUERY SELECT * FROM perdure.instances AS i
    WHERE i.due_ms <= now_ms AND (i.due_ms, i.incarnation) > (after_ms, after_incarnation)
      AND (cardinality(except_kinds) = 0
        OR (i.kind, i.name) NOT IN (SELECT * FROM unnest(except_kinds, except_names)))
    ORDER BY i.due_ms, i.incarnation LIMIT at_most;
END $$;

-- A share is a list of jobs, with a bit for each bucket.
CREATE FUNCTION perdure.due_in_share(now_ms bigint, after_ms bigint, after_incarnation bigint, at_most int, kinds text[],
  names text[], buckets bigint[])
RETURNS SETOF perdure.instances LANGUAGE plpgsql STABLE SET enable_seqscan = off SET jit = off AS $$
BEGIN
  RETURN QUERY SELECT * FROM perdure.instances AS i
    WHERE i.due_ms <= now_ms AND (i.due_ms, i.incarnation) > (after_ms, after_incarnation)
      AND EXISTS (SELECT FROM unnest(kinds, names, buckets) AS s (kind, name, bits)
        WHERE s.kind = i.kind AND s.name = i.name AND (s.bits >> i.bucket) & 1 = 1)
    ORDER BY i.due_ms, i.incarnation LIMIT at_most;
END $$;

CREATE FUNCTION perdure.next_alarm(after_ms bigint) RETURNS bigint
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET jit = off AS $$
BEGIN
  RETURN (SELECT i.due_ms FROM perdure.instances AS i WHERE i.due_ms > after_ms ORDER BY i.due_ms LIMIT 1);
END $$;

-- The next lanes of a job that have queued instances: a seek in the index for each.
CREATE FUNCTION perdure.lanes(job_kind text, job_name text, after text, at_most int) RETURNS SETOF text
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET jit = off AS $$
BEGIN
  RETURN QUERY WITH RECURSIVE found (lane) AS (
      (SELECT i.lane FROM perdure.instances AS i WHERE i.kind = job_kind AND i.name = job_name AND i.rank_ms IS NOT NULL
        AND i.lane >= coalesce(after, '') AND (after IS NULL OR i.lane <> after) ORDER BY i.lane LIMIT 1)
      UNION ALL
      SELECT (SELECT i.lane FROM perdure.instances AS i WHERE i.kind = job_kind AND i.name = job_name
        AND i.rank_ms IS NOT NULL AND i.lane > found.lane ORDER BY i.lane LIMIT 1)
      FROM found WHERE found.lane IS NOT NULL)
    SELECT found.lane FROM found WHERE found.lane IS NOT NULL LIMIT at_most;
END $$;

-- Of each of these lanes the first queued instances behind a position, by rank and incarnation.
CREATE FUNCTION perdure.queued(job_kind text, job_name text, of_lanes text[], after_ms bigint, after_incarnation bigint,
  of_each int)
RETURNS SETOF perdure.instances LANGUAGE plpgsql STABLE SET enable_seqscan = off SET jit = off AS $$
BEGIN
  RETURN QUERY SELECT i.* FROM unnest(of_lanes) WITH ORDINALITY AS l (lane, place) CROSS JOIN LATERAL (
      SELECT * FROM perdure.instances AS q WHERE q.kind = job_kind AND q.name = job_name AND q.lane = l.lane
        AND q.rank_ms IS NOT NULL AND (q.rank_ms, q.incarnation) > (after_ms, after_incarnation)
      ORDER BY q.rank_ms, q.incarnation LIMIT of_each) AS i
    ORDER BY l.place, i.rank_ms, i.incarnation;
END $$;

CREATE FUNCTION perdure.claimed(after_incarnation bigint, at_most int) RETURNS SETOF perdure.instances
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET jit = off AS $$
BEGIN
  RETURN QUERY SELECT * FROM perdure.instances AS i
    WHERE (i.owner IS NOT NULL OR i.event_owner IS NOT NULL) AND i.incarnation > after_incarnation
    ORDER BY i.incarnation LIMIT at_most;
END $$;

CREATE FUNCTION perdure.heads(after_id bigint, now_ms bigint, at_most int) RETURNS SETOF perdure.messages
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET jit = off AS $$
BEGIN
  RETURN QUERY SELECT * FROM perdure.messages AS m
    WHERE m.place = 'head' AND m.message_id > after_id AND m.not_before_ms <= now_ms
    ORDER BY m.message_id LIMIT at_most;
END $$;

-- Of the heads: those that this opening wrote, and those to the share whose writer does not deliver them. An epoch up to
-- known_to that is not living is dead.
CREATE FUNCTION perdure.heads_in_share(after_id bigint, now_ms bigint, at_most int, my_epoch bigint, living bigint[],
  known_to bigint, old_ms bigint, kinds text[], names text[], buckets bigint[])
RETURNS SETOF perdure.messages LANGUAGE plpgsql STABLE SET enable_seqscan = off SET jit = off AS $$
BEGIN
  RETURN QUERY SELECT * FROM perdure.messages AS m
    WHERE m.place = 'head' AND m.message_id > after_id AND m.not_before_ms <= now_ms AND (m.origin = my_epoch OR
      ((m.sent_ms < old_ms OR (m.origin <> ALL(living) AND m.origin <= known_to))
        AND EXISTS (SELECT FROM unnest(kinds, names, buckets) AS s (kind, name, bits)
          WHERE s.kind = split_part(m.target, ':', 1) AND s.name = split_part(m.target, ':', 2)
            AND (s.bits >> m.bucket) & 1 = 1)))
    ORDER BY m.message_id LIMIT at_most;
END $$;

CREATE FUNCTION perdure.abandoned(after_incarnation bigint, at_most int, my_epoch bigint, living bigint[], known_to bigint,
  kinds text[], names text[], buckets bigint[])
RETURNS SETOF perdure.instances LANGUAGE plpgsql STABLE SET enable_seqscan = off SET jit = off AS $$
BEGIN
  RETURN QUERY SELECT * FROM perdure.instances AS i
    WHERE (i.owner IS NOT NULL OR i.event_owner IS NOT NULL) AND i.incarnation > after_incarnation
      AND ((i.owner <= known_to AND i.owner <> my_epoch AND i.owner <> ALL(living))
        OR (i.event_owner <= known_to AND i.event_owner <> my_epoch AND i.event_owner <> ALL(living)))
      AND EXISTS (SELECT FROM unnest(kinds, names, buckets) AS s (kind, name, bits)
        WHERE s.kind = i.kind AND s.name = i.name AND (s.bits >> i.bucket) & 1 = 1)
    ORDER BY i.incarnation LIMIT at_most;
END $$;

CREATE FUNCTION perdure.log_page(after bigint, at_most int) RETURNS SETOF perdure.events
LANGUAGE plpgsql SET enable_seqscan = off SET jit = off AS $$
DECLARE
  bound bigint;
BEGIN
  IF NOT EXISTS (SELECT FROM perdure.events AS e WHERE e.sequence > after) THEN RETURN; END IF;
  bound := perdure.log_end();
  RETURN QUERY SELECT * FROM perdure.events AS e WHERE e.sequence > after AND e.sequence < bound
    ORDER BY e.sequence LIMIT at_most;
END $$;

CREATE FUNCTION perdure.cursor_of(which text) RETURNS TABLE (sequence bigint, deleted bigint, last bigint)
LANGUAGE plpgsql SET jit = off AS $$
#variable_conflict use_column
DECLARE
  bound bigint := perdure.log_end();
BEGIN
  RETURN QUERY SELECT c.sequence, coalesce(c.deleted, 0), greatest(n.pruned_to, coalesce(
      (SELECT e.sequence FROM perdure.events AS e WHERE e.sequence < bound ORDER BY e.sequence DESC LIMIT 1), 0))
    FROM perdure.counters AS n LEFT JOIN perdure.cursors AS c ON c.name = which;
END $$;

-- A command in the transaction of an application, for any language:
-- SELECT perdure.send('task', 'orders', 'order-1', 'send', '{"type":"Placed","amount":30}');
-- The commands of a transaction to one target come in order. The sender is the transaction.
CREATE FUNCTION perdure.send(kind text, name text, id text, action text, payload text) RETURNS bigint
LANGUAGE plpgsql SET jit = off AS $$
DECLARE
  address text := kind || ':' || name || ':' || id;
  stored text := replace(address, E'\x01', E'\x01\x02');
  teller text := 'outside:transaction:' || pg_current_xact_id()::text;
  given bigint := nextval('perdure.message_ids');
BEGIN
  INSERT INTO perdure.messages (message_id, pair, bucket, origin, sender, target, action, payload, sent_ms, place)
    VALUES (given, perdure.digest(teller, stored), perdure.bucket(address), 0, teller, stored, action, payload,
      (extract(epoch FROM clock_timestamp()) * 1000)::bigint,
      CASE WHEN EXISTS (SELECT FROM perdure.messages AS m WHERE m.pair = perdure.digest(teller, stored))
        THEN 'behind' ELSE 'head' END);
  RETURN given;
END $$;

-- When such a transaction commits, the engines are notified. A notification makes commits wait for each other, so only
-- one of several transactions that commit at the same time sends it; engines look again shortly after each.
CREATE FUNCTION perdure.hint() RETURNS trigger LANGUAGE plpgsql SET jit = off AS $$
BEGIN
  IF pg_try_advisory_xact_lock(1885692519, 'perdure.instances'::regclass::oid::int) THEN
    PERFORM pg_notify('perdure_' || 'perdure.instances'::regclass::oid, '');
  END IF;
  RETURN NULL;
END $$;

CREATE CONSTRAINT TRIGGER hint AFTER INSERT ON perdure.messages DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW WHEN (NEW.origin = 0) EXECUTE FUNCTION perdure.hint();
