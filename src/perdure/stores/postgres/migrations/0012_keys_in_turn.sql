-- Two transitions that write no instance, and store the same new key at the same time: one of them conflicts.
CREATE OR REPLACE FUNCTION perdure.commit_group(
  my_epoch bigint, how_durable text,
  -- instances written over
  u_n int[], u_incarnation bigint[], u_version bigint[], u_kind text[], u_name text[], u_id text[],
  -- new instances
  i_n int[], i_bucket smallint[], i_kind text[], i_name text[], i_id text[],
  -- the columns of both: first those written over, then the new ones
  w_due_ms bigint[], w_owner bigint[], w_event_owner bigint[], w_lane text[], w_rank_ms bigint[], w_status text[], w_state text[], w_state_version int[],
  w_data text[], w_alarm_ms bigint[], w_suspension text[], w_pending_retry text[], w_claim text[], w_event_claim text[],
  w_run_count bigint[], w_event_count bigint[], w_last_error text[], w_created_ms bigint[], w_updated_ms bigint[],
  w_alarm_trace text[], w_journal_length int[], w_ended_ms bigint[], w_suspended_ms bigint[], w_left_by text[], w_left_mark text[],
  -- purged, where something was expected and where nothing was; left alone
  d_n int[], d_incarnation bigint[], d_version bigint[], d_kind text[], d_name text[], d_id text[],
  x_n int[], x_kind text[], x_name text[], x_id text[],
  k_n int[],
  -- journals that are cut, and rows of journals
  c_n int[], j_n int[], j_place int[], j_body text[],
  -- fates of messages
  f_n int[], f_message_id bigint[], f_fate text[], f_attempts int[], f_not_before_ms bigint[], f_error text[], f_left_by text[],
  -- messages out, own messages dropped, keys, events
  m_n int[], m_bucket smallint[], m_sender text[], m_target text[], m_action text[], m_payload text[], m_sent_ms bigint[],
  m_trace text[],
  o_n int[], o_address text[],
  r_n int[], r_address text[], r_key text[], r_action text[], r_fingerprint text[], r_answer text[], r_expires_ms bigint[],
  r_failures int[], r_full_answers int[],
  e_n int[], e_address text[], e_type text[], e_at_ms bigint[], e_body text[],
  -- keys that must be new
  y_n int[], y_address text[], y_key text[], y_at_ms bigint[]
) RETURNS TABLE (n int, incarnation bigint) LANGUAGE plpgsql
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off SET jit = off
SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
  done int[] := '{}';
  incarnations bigint[] := '{}';
  more int[];
  born bigint[];
  added bigint[];
  conflicting int[] := '{}';
  living bigint[];
  updates int := cardinality(u_n);
  all_done boolean;
  s_holder bytea[];
  s_ordinal bigint[];
  s_place bigint[];
  s_full int[];
  s_again boolean[];
  first bigint;
BEGIN
  PERFORM perdure.enter(my_epoch, how_durable);
  first := (SELECT events_base FROM perdure.counters) + (pg_current_xact_id()::text::bigint << 20);  -- after the lock
  IF cardinality(f_n) > 0 THEN
    SELECT array_agg(message_id) INTO living FROM
      (SELECT message_id FROM perdure.messages WHERE message_id = ANY(f_message_id) ORDER BY message_id FOR UPDATE) locked;
    SELECT coalesce(array_agg(f.n), '{}') INTO conflicting FROM unnest(f_n, f_message_id) AS f (n, message_id)
      WHERE living IS NULL OR f.message_id <> ALL(living);
  END IF;
  IF cardinality(y_n) > 0 THEN
    -- No fence of an instance serializes these: of two that write one key at the same time, the second sees the first.
    IF cardinality(k_n) > 0 THEN
      PERFORM pg_advisory_xact_lock(l.holder) FROM (
        SELECT DISTINCT ('x' || encode(substr(perdure.digest(y.address, ''), 1, 8), 'hex'))::bit(64)::bigint AS holder
        FROM unnest(y_n, y_address) AS y (n, address) WHERE y.n = ANY(k_n) ORDER BY 1) AS l;
    END IF;
    conflicting := conflicting || ARRAY(
      SELECT y.n FROM unnest(y_n, y_address, y_key, y_at_ms) AS y (n, address, key, at_ms) WHERE EXISTS
        (SELECT FROM perdure.keys AS k WHERE k.holder = perdure.digest(y.address, '')
          AND k.id = perdure.digest(y.key, '') AND k.expires_ms > y.at_ms));
  END IF;
  IF updates > 0 THEN
    WITH written AS (
      UPDATE perdure.instances AS i SET version = u.version + 1, due_ms = u.due_ms, owner = u.owner,
        event_owner = u.event_owner, lane = u.lane, rank_ms = u.rank_ms, status = u.status, state = u.state, state_version = u.state_version, data = u.data,
        alarm_ms = u.alarm_ms, suspension = u.suspension, pending_retry = u.pending_retry, claim = u.claim,
        event_claim = u.event_claim, run_count = u.run_count, event_count = u.event_count, last_error = u.last_error,
        created_ms = u.created_ms, updated_ms = u.updated_ms, alarm_trace = u.alarm_trace,
        journal_length = u.journal_length, ended_ms = u.ended_ms,
        suspended_ms = u.suspended_ms, left_by = u.left_by, left_mark = u.left_mark
      FROM unnest(u_n, u_incarnation, u_version, u_kind, u_name, u_id, w_due_ms[:updates], w_owner[:updates],
        w_event_owner[:updates], w_lane[:updates], w_rank_ms[:updates], w_status[:updates], w_state[:updates], w_state_version[:updates], w_data[:updates],
        w_alarm_ms[:updates], w_suspension[:updates], w_pending_retry[:updates], w_claim[:updates],
        w_event_claim[:updates], w_run_count[:updates], w_event_count[:updates], w_last_error[:updates],
        w_created_ms[:updates], w_updated_ms[:updates], w_alarm_trace[:updates], w_journal_length[:updates], w_ended_ms[:updates],
        w_suspended_ms[:updates], w_left_by[:updates], w_left_mark[:updates])
        AS u (n, incarnation, version, kind, name, id, due_ms, owner, event_owner, lane, rank_ms, status, state, state_version, data,
          alarm_ms, suspension, pending_retry, claim, event_claim, run_count, event_count, last_error, created_ms,
          updated_ms, alarm_trace, journal_length, ended_ms, suspended_ms, left_by, left_mark)
      WHERE i.incarnation = u.incarnation AND i.version = u.version AND i.kind = u.kind AND i.name = u.name
        AND i.id = u.id AND u.n <> ALL(conflicting)
      RETURNING u.n, i.incarnation
    ) SELECT coalesce(array_agg(written.n), '{}'), coalesce(array_agg(written.incarnation), '{}')
      INTO done, incarnations FROM written;
  END IF;
  IF cardinality(i_n) > 0 THEN
    -- The numbers come first, so that nothing has to be joined by them.
    born := ARRAY(SELECT nextval('perdure.incarnations') FROM generate_series(1, cardinality(i_n)));
    WITH added AS (
      INSERT INTO perdure.instances (incarnation, version, bucket, kind, name, id,
        due_ms, owner, event_owner, lane, rank_ms, status, state, state_version, data, alarm_ms, suspension,
        pending_retry, claim, event_claim, run_count, event_count, last_error, created_ms, updated_ms, alarm_trace,
        journal_length, ended_ms, suspended_ms, left_by, left_mark)
      SELECT i.incarnation, 1, i.bucket, i.kind, i.name, i.id,
        i.due_ms, i.owner, i.event_owner, i.lane, i.rank_ms, i.status, i.state, i.state_version, i.data, i.alarm_ms,
        i.suspension, i.pending_retry, i.claim, i.event_claim, i.run_count, i.event_count, i.last_error,
        i.created_ms, i.updated_ms, i.alarm_trace, i.journal_length, i.ended_ms, i.suspended_ms, i.left_by, i.left_mark
      FROM unnest(i_n, born, i_bucket, i_kind, i_name, i_id,
        w_due_ms[updates + 1:], w_owner[updates + 1:], w_event_owner[updates + 1:], w_lane[updates + 1:],
        w_rank_ms[updates + 1:], w_status[updates + 1:], w_state[updates + 1:], w_state_version[updates + 1:],
        w_data[updates + 1:], w_alarm_ms[updates + 1:], w_suspension[updates + 1:], w_pending_retry[updates + 1:],
        w_claim[updates + 1:], w_event_claim[updates + 1:], w_run_count[updates + 1:], w_event_count[updates + 1:],
        w_last_error[updates + 1:], w_created_ms[updates + 1:], w_updated_ms[updates + 1:],
        w_alarm_trace[updates + 1:], w_journal_length[updates + 1:], w_ended_ms[updates + 1:],
        w_suspended_ms[updates + 1:], w_left_by[updates + 1:], w_left_mark[updates + 1:])
        AS i (n, incarnation, bucket, kind, name, id,
          due_ms, owner, event_owner, lane, rank_ms, status, state, state_version, data, alarm_ms, suspension,
          pending_retry, claim, event_claim, run_count, event_count, last_error, created_ms, updated_ms,
          alarm_trace, journal_length, ended_ms, suspended_ms, left_by, left_mark)
      WHERE i.n <> ALL(conflicting)
      ORDER BY i.kind, i.name, i.id
      ON CONFLICT (kind, name, id) DO NOTHING RETURNING incarnation
    ) SELECT coalesce(array_agg(added.incarnation), '{}') INTO added FROM added;
    IF cardinality(added) < cardinality(born) THEN
      SELECT coalesce(array_agg(i.n), '{}'), coalesce(array_agg(i.incarnation), '{}') INTO more, born
        FROM unnest(i_n, born) AS i (n, incarnation) WHERE i.incarnation = ANY(added);
    ELSE
      more := i_n;
    END IF;
    done := done || more;
    incarnations := incarnations || born;
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
  all_done := cardinality(done) = updates + cardinality(i_n) + cardinality(d_n) + cardinality(x_n) + cardinality(k_n);
  IF cardinality(f_n) > 0 THEN
    PERFORM perdure.settle(done, f_n, f_message_id, f_fate, f_attempts, f_not_before_ms, f_error, f_left_by);
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
    -- A key that is stored again keeps its number; the others of an address get the next ones, in order.
    WITH given AS (
      SELECT perdure.digest(u.address, '') AS holder, perdure.digest(u.key, '') AS id, u.*,
        EXISTS (SELECT FROM perdure.keys AS k
          WHERE k.holder = perdure.digest(u.address, '') AND k.id = perdure.digest(u.key, '')) AS again
      FROM unnest(r_n, r_address, r_key, r_action, r_fingerprint, r_answer, r_expires_ms, r_failures, r_full_answers)
        WITH ORDINALITY AS u (n, address, key, action, fingerprint, answer, expires_ms, failures, full_answers, place)
      WHERE u.n = ANY(done)
    ), stored AS (
      INSERT INTO perdure.keys AS held (holder, id, address, key, action, fingerprint, answer, expires_ms, failures, ordinal)
      SELECT g.holder, g.id, g.address, g.key, g.action, g.fingerprint, g.answer, g.expires_ms, g.failures,
        count(*) FILTER (WHERE NOT g.again) OVER (PARTITION BY g.holder ORDER BY g.place)
          + coalesce((SELECT k.ordinal FROM perdure.keys AS k WHERE k.holder = g.holder ORDER BY k.ordinal DESC LIMIT 1), 0)
      FROM given AS g ORDER BY 1, 2
      ON CONFLICT (holder, id) DO UPDATE SET (action, fingerprint, answer, expires_ms, failures) =
        (excluded.action, excluded.fingerprint, excluded.answer, excluded.expires_ms, excluded.failures)
      RETURNING holder, id, ordinal
    ) SELECT array_agg(s.holder), array_agg(s.ordinal), array_agg(g.place), array_agg(g.full_answers),
        array_agg(g.again) INTO s_holder, s_ordinal, s_place, s_full, s_again
      FROM stored AS s JOIN given AS g ON g.holder = s.holder AND g.id = s.id;
    -- A new statement: it sees the keys above. What a later key of the transitions has stored again is not emptied.
    UPDATE perdure.keys AS old SET answer = ''
      FROM unnest(s_holder, s_ordinal, s_place, s_full) AS s (holder, ordinal, place, full_answers)
      WHERE s.ordinal > s.full_answers AND old.holder = s.holder AND old.ordinal = s.ordinal - s.full_answers
        AND old.answer <> '' AND NOT (true = ANY(s_again) AND EXISTS (
          SELECT FROM unnest(s_holder, s_ordinal, s_place, s_again) AS later (holder, ordinal, place, again)
          WHERE later.again AND later.holder = s.holder AND later.ordinal = old.ordinal AND later.place > s.place));
  END IF;
  IF cardinality(e_n) > 0 THEN
    INSERT INTO perdure.events (sequence, address, type, at_ms, body)
      SELECT first + e.place, e.address, e.type, e.at_ms, e.body
      FROM unnest(e_n, e_address, e_type, e_at_ms, e_body) WITH ORDINALITY AS e (n, address, type, at_ms, body, place)
      WHERE all_done OR e.n = ANY(done);
  END IF;
  RETURN QUERY SELECT * FROM unnest(done, incarnations);
END $$;
