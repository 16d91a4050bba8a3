-- How long the histories of jobs are kept, longer than in the log: only jobs that declare it have rows. job is kind:name.
CREATE TABLE perdure.histories (
  job text COLLATE "C" PRIMARY KEY,
  age_ms bigint NOT NULL,
  events bigint NOT NULL
);

-- Events of these jobs that have left the log, of which only the beginning may go. The numbers of a job have no gaps.
CREATE TABLE perdure.kept_events (
  sequence bigint PRIMARY KEY,
  address text COLLATE "C" NOT NULL,
  type text NOT NULL,
  at_ms bigint NOT NULL,
  body text NOT NULL,
  job text COLLATE "C" NOT NULL,
  number bigint NOT NULL
);
CREATE INDEX kept_events_address ON perdure.kept_events (address, sequence);
CREATE UNIQUE INDEX kept_events_job ON perdure.kept_events (job, number);

CREATE FUNCTION perdure.declare_histories(
  my_epoch bigint, how_durable text, jobs text[], ages_ms bigint[], most bigint[]
) RETURNS void LANGUAGE plpgsql SET jit = off AS $$
BEGIN
  PERFORM perdure.enter(my_epoch, how_durable);
  INSERT INTO perdure.histories AS h (job, age_ms, events)
    SELECT d.job, d.age_ms, d.events FROM unnest(jobs, ages_ms, most) AS d (job, age_ms, events)
    ORDER BY d.job
    ON CONFLICT (job) DO UPDATE SET age_ms = excluded.age_ms, events = excluded.events
    WHERE (h.age_ms, h.events) <> (excluded.age_ms, excluded.events);
END $$;

-- As before, but events of jobs with a history move into kept_events, also when an engine of older code calls it. Then those
-- beyond their jobs' bounds go.
CREATE OR REPLACE FUNCTION perdure.prune(
  my_epoch bigint, how_durable text, until_ms bigint, letters_since_ms bigint, events_since_ms bigint, keep_from bigint,
  at_most int
) RETURNS int LANGUAGE plpgsql SET enable_seqscan = off SET jit = off AS $$
DECLARE
  gone int;
  removed int;
  bound bigint;
  history perdure.histories;
BEGIN
  PERFORM perdure.enter(my_epoch, how_durable);
  DELETE FROM perdure.keys WHERE (holder, id) IN
    (SELECT holder, id FROM perdure.keys WHERE expires_ms <= until_ms ORDER BY expires_ms LIMIT at_most FOR UPDATE SKIP LOCKED);
  GET DIAGNOSTICS removed = ROW_COUNT;
  DELETE FROM perdure.dead_letters WHERE message_id IN (SELECT message_id FROM perdure.dead_letters
    WHERE sent_ms < letters_since_ms ORDER BY sent_ms LIMIT at_most - removed FOR UPDATE SKIP LOCKED);
  GET DIAGNOSTICS gone = ROW_COUNT;
  removed := removed + gone;
  -- One engine at a time numbers the events of a job.
  IF EXISTS (SELECT FROM perdure.histories) THEN
    PERFORM pg_advisory_xact_lock(1885692521, 'perdure.kept_events'::regclass::oid::int);
  END IF;
  WITH oldest AS (SELECT sequence, at_ms FROM perdure.events ORDER BY sequence LIMIT at_most - removed)
    SELECT coalesce((SELECT min(sequence) FROM oldest WHERE at_ms >= events_since_ms AND sequence >= keep_from),
      (SELECT max(sequence) + 1 FROM oldest)) INTO bound;
  IF bound IS NOT NULL THEN
    UPDATE perdure.cursors SET deleted = deleted +
        (SELECT count(*) FROM perdure.events AS e WHERE e.sequence < bound AND e.sequence > cursors.sequence)
      WHERE sequence < bound - 1;
    -- Only deleted events move: another engine may have deleted some of them meanwhile.
    WITH old AS (DELETE FROM perdure.events AS e WHERE e.sequence < bound RETURNING e.*),
      moved AS (
        INSERT INTO perdure.kept_events (sequence, address, type, at_ms, body, job, number)
        SELECT o.sequence, o.address, o.type, o.at_ms, o.body, h.job, row_number() OVER (PARTITION BY h.job ORDER BY o.sequence)
          + coalesce((SELECT max(k.number) FROM perdure.kept_events AS k WHERE k.job = h.job), 0)
        FROM old AS o JOIN perdure.histories AS h ON starts_with(o.address, h.job || ':')
        WHERE o.at_ms >= until_ms - h.age_ms)
      SELECT count(*) INTO gone FROM old;
    removed := removed + gone;
    IF gone > 0 THEN UPDATE perdure.counters SET pruned_to = bound - 1 WHERE pruned_to < bound - 1; END IF;
  END IF;
  FOR history IN SELECT * FROM perdure.histories AS h ORDER BY h.job LOOP
    -- Like the log, only up to the first event that is kept.
    WITH oldest AS (SELECT k.number, k.at_ms FROM perdure.kept_events AS k WHERE k.job = history.job
        ORDER BY k.number LIMIT at_most - removed)
      SELECT coalesce((SELECT min(o.number) FROM oldest AS o WHERE o.at_ms >= until_ms - history.age_ms
          AND o.number > (SELECT max(k.number) FROM perdure.kept_events AS k WHERE k.job = history.job) - history.events),
        (SELECT max(o.number) + 1 FROM oldest AS o)) INTO bound;
    DELETE FROM perdure.kept_events AS k WHERE k.job = history.job AND k.number < bound;
    GET DIAGNOSTICS gone = ROW_COUNT;
    removed := removed + gone;
  END LOOP;
  RETURN removed;
END $$;
