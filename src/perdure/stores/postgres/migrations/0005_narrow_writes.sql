-- Transitions that change few columns, without messages, keys and journals: the state of an event (0), the claim of a run
-- (1), the end of a run (2). A number is the count of events, the count of runs, or the alarm; a body is a state or a claim.
-- Returns the transitions whose version was not the stored one. Rows are locked in the order of incarnations; first_lock
-- has those of the statement's other transitions, if other engines may write them in another order.
CREATE FUNCTION perdure.commit_narrow(
  my_epoch bigint, how_durable text, first_lock bigint[],
  w_n int[], w_incarnation bigint[], w_version bigint[], w_form int[], w_updated_ms bigint[], w_number bigint[], w_body text[],
  e_n int[], e_address text[], e_type text[], e_at_ms bigint[], e_body text[]
) RETURNS TABLE (n int) LANGUAGE plpgsql
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off SET jit = off
SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
  done int[];
  -- Behind the events of other transitions of the statement, which append_events numbers.
  first bigint := (SELECT events_base FROM perdure.counters) + (pg_current_xact_id()::text::bigint << 20) + (1 << 19);
BEGIN
  PERFORM perdure.enter(my_epoch, how_durable);
  IF cardinality(first_lock) > 0 THEN
    PERFORM FROM perdure.instances AS i WHERE i.incarnation = ANY(first_lock || w_incarnation)
      ORDER BY i.incarnation FOR NO KEY UPDATE;
  END IF;
  WITH written AS (
    UPDATE perdure.instances AS i SET version = u.version + 1, updated_ms = u.updated_ms,
      state = CASE u.form WHEN 1 THEN i.state ELSE u.body END,
      event_count = CASE u.form WHEN 0 THEN u.number ELSE i.event_count END,
      run_count = CASE u.form WHEN 1 THEN u.number ELSE i.run_count END,
      claim = CASE u.form WHEN 0 THEN i.claim WHEN 1 THEN u.body END,
      owner = CASE u.form WHEN 0 THEN i.owner WHEN 1 THEN my_epoch END,
      rank_ms = CASE u.form WHEN 0 THEN i.rank_ms END,
      alarm_ms = CASE u.form WHEN 2 THEN u.number ELSE i.alarm_ms END,
      due_ms = CASE u.form WHEN 2 THEN u.number ELSE i.due_ms END,
      status = CASE u.form WHEN 0 THEN i.status WHEN 1 THEN 'running'
        ELSE CASE WHEN u.number IS NULL THEN 'idle' ELSE 'scheduled' END END
    FROM unnest(w_n, w_incarnation, w_version, w_form, w_updated_ms, w_number, w_body)
      AS u (n, incarnation, version, form, updated_ms, number, body)
    WHERE i.incarnation = u.incarnation AND i.version = u.version
    RETURNING u.n
  ) SELECT coalesce(array_agg(written.n), '{}') INTO done FROM written;
  IF cardinality(done) = cardinality(w_n) THEN
    IF cardinality(e_n) > 0 THEN
      INSERT INTO perdure.events (sequence, address, type, at_ms, body)
        SELECT first + e.place, e.address, e.type, e.at_ms, e.body
        FROM unnest(e_address, e_type, e_at_ms, e_body) WITH ORDINALITY AS e (address, type, at_ms, body, place);
    END IF;
  ELSE
    INSERT INTO perdure.events (sequence, address, type, at_ms, body)
      SELECT first + e.place, e.address, e.type, e.at_ms, e.body
      FROM unnest(e_n, e_address, e_type, e_at_ms, e_body) WITH ORDINALITY AS e (n, address, type, at_ms, body, place)
      WHERE e.n = ANY(done);
    RETURN QUERY SELECT u.n FROM unnest(w_n) AS u (n) WHERE u.n <> ALL(done);
  END IF;
END $$;
