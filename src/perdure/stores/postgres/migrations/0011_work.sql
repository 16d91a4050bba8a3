-- The work of jobs, one row for each, in their order: what an autoscaler reads. Each part reads at most at_most rows of
-- one index, however many instances are stored.
CREATE FUNCTION perdure.work(until_ms bigint, at_most int, kinds text[], names text[])
RETURNS TABLE (queued bigint, due bigint, messages bigint, running bigint, next_alarm_ms bigint, alarms_to_ms bigint)
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET jit = off AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
    WITH alarms AS MATERIALIZED (
      SELECT i.kind, i.name, i.due_ms FROM perdure.instances AS i
      WHERE i.due_ms IS NOT NULL AND i.owner IS NULL AND i.event_owner IS NULL
      ORDER BY i.due_ms, i.incarnation LIMIT at_most
    ), alarms_of AS (
      SELECT a.kind, a.name, count(*) FILTER (WHERE a.due_ms <= until_ms) AS due, min(a.due_ms) AS first_ms
      FROM alarms AS a GROUP BY 1, 2
    ), claims_of AS (
      SELECT c.kind, c.name, count(*) AS running FROM (
        SELECT i.kind, i.name FROM perdure.instances AS i WHERE i.owner IS NOT NULL OR i.event_owner IS NOT NULL
        ORDER BY i.incarnation LIMIT at_most
      ) AS c GROUP BY 1, 2
    ), heads_of AS (
      SELECT split_part(h.target, ':', 1) AS kind, split_part(h.target, ':', 2) AS name, count(*) AS messages
      FROM perdure.heads(-1, until_ms, at_most) AS h GROUP BY 1, 2
    ), read_to AS (
      SELECT CASE WHEN count(*) >= at_most THEN max(a.due_ms) END AS at_ms FROM alarms AS a
    )
    SELECT
      (SELECT count(*) FROM (SELECT FROM perdure.instances AS i
        WHERE i.kind = j.kind AND i.name = j.name AND i.rank_ms IS NOT NULL LIMIT at_most) AS few),
      coalesce(a.due, 0), coalesce(h.messages, 0), coalesce(c.running, 0), a.first_ms, (SELECT at_ms FROM read_to)
    FROM unnest(kinds, names) WITH ORDINALITY AS j (kind, name, place)
    LEFT JOIN alarms_of AS a ON a.kind = j.kind AND a.name = j.name
    LEFT JOIN claims_of AS c ON c.kind = j.kind AND c.name = j.name
    LEFT JOIN heads_of AS h ON h.kind = j.kind AND h.name = j.name
    ORDER BY j.place;
END $$;

-- How much work waits or runs: one number for an autoscaler, also while no engine runs. No engine begins the work of a held
-- job, but its runs go on. Jobs are written kind:name; without them all count. Alarms within the interval count, so that
-- an engine that has to start first is there in time.
CREATE FUNCTION perdure.demand(within interval DEFAULT '0 s', jobs text[] DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET jit = off AS $$
DECLARE
  until_ms bigint := (extract(epoch FROM clock_timestamp() + within) * 1000)::bigint;
  kinds text[];
  names text[];
BEGIN
  IF jobs IS NULL THEN
    -- The jobs that have instances, by a seek in the index of addresses for each, and those that messages begin.
    WITH RECURSIVE stored AS (
      (SELECT i.kind, i.name FROM perdure.instances AS i ORDER BY i.kind, i.name LIMIT 1)
      UNION ALL
      SELECT n.kind, n.name FROM stored AS s CROSS JOIN LATERAL (
        SELECT i.kind, i.name FROM perdure.instances AS i WHERE (i.kind, i.name) > (s.kind, s.name)
        ORDER BY i.kind, i.name LIMIT 1) AS n
    ), named AS (
      SELECT s.kind, s.name FROM stored AS s
      UNION
      SELECT split_part(h.target, ':', 1), split_part(h.target, ':', 2) FROM perdure.heads(-1, until_ms, 10000) AS h
    )
    SELECT array_agg(n.kind), array_agg(n.name) INTO kinds, names FROM named AS n;
  ELSE
    SELECT array_agg(split_part(one, ':', 1)), array_agg(split_part(one, ':', 2)) INTO kinds, names
    FROM unnest(jobs) AS one;
  END IF;
  RETURN (
    SELECT coalesce(sum(w.running + CASE WHEN h.name IS NULL THEN w.queued + w.due + w.messages ELSE 0 END), 0)::bigint
    FROM perdure.work(until_ms, 10000, kinds, names) WITH ORDINALITY
      AS w (queued, due, messages, running, next_alarm_ms, alarms_to_ms, place)
    JOIN unnest(kinds, names) WITH ORDINALITY AS j (kind, name, place) USING (place)
    LEFT JOIN perdure.holds AS h ON h.kind = j.kind AND h.name = j.name);
END $$;
