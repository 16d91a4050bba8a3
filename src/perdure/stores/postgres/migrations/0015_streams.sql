-- The chunks that runs emit, in groups. total: the bytes of the stream up to the group, those of deleted groups included.
-- Groups go with their instance, also if an engine of older code purges it.
CREATE TABLE perdure.streams (
  incarnation bigint NOT NULL REFERENCES perdure.instances ON DELETE CASCADE,
  stream text COLLATE "C" NOT NULL,
  last bigint NOT NULL,
  first bigint NOT NULL,
  total bigint NOT NULL,
  body text NOT NULL,
  PRIMARY KEY (incarnation, stream, last)
);

-- Whether a claim is that of a delivery.
CREATE FUNCTION perdure.is_delivery(claim text, owner bigint, run_id text, attempt int, deliveries int) RETURNS boolean
LANGUAGE sql IMMUTABLE SET jit = off AS $$
  SELECT claim IS NOT NULL AND (claim::json ->> 'owner')::bigint = owner AND claim::json ->> 'run_id' = run_id
    AND (claim::json ->> 'attempt')::int = attempt AND (claim::json ->> 'deliveries')::int = deliveries;
$$;

-- Append groups whose runs hold their claims; return their numbers and where each begins.
CREATE FUNCTION perdure.append_streams(
  my_epoch bigint, how_durable text, g_incarnation bigint[], g_owner bigint[], g_run_id text[], g_attempt int[],
  g_deliveries int[], g_stream text[], g_skipped bigint[], g_count int[], g_size bigint[], g_body text[],
  g_max_chunks bigint[], g_max_bytes bigint[]
) RETURNS TABLE (n int, began bigint) LANGUAGE plpgsql
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off SET jit = off AS $$
DECLARE
  one record;
  kept record;
  ending bigint;
  bytes bigint;
BEGIN
  PERFORM perdure.enter(my_epoch, how_durable);
  -- One after the other for each stream, in one order. The claim is read after the lock, so that groups of a delivery
  -- never come behind those of a later one.
  PERFORM pg_advisory_xact_lock(l.place) FROM (
    SELECT DISTINCT hashtextextended(g.stream, g.incarnation) AS place
    FROM unnest(g_incarnation, g_stream) AS g (incarnation, stream) ORDER BY 1) AS l;
  FOR one IN SELECT * FROM unnest(g_incarnation, g_owner, g_run_id, g_attempt, g_deliveries, g_stream, g_skipped,
      g_count, g_size, g_body, g_max_chunks, g_max_bytes) WITH ORDINALITY AS g (incarnation, owner, run_id, attempt,
      deliveries, stream, skipped, chunks, size, body, max_chunks, max_bytes, number) ORDER BY g.number LOOP
    CONTINUE WHEN NOT EXISTS (SELECT FROM perdure.instances AS i WHERE i.incarnation = one.incarnation
      AND (perdure.is_delivery(i.claim, one.owner, one.run_id, one.attempt, one.deliveries)
        OR perdure.is_delivery(i.event_claim, one.owner, one.run_id, one.attempt, one.deliveries))
      FOR KEY SHARE);
    SELECT s.last, s.total INTO kept FROM perdure.streams AS s
      WHERE s.incarnation = one.incarnation AND s.stream = one.stream ORDER BY s.last DESC LIMIT 1;
    n := one.number - 1;
    began := coalesce(kept.last, -1) + 1 + one.skipped;
    ending := began + one.chunks - 1;
    bytes := coalesce(kept.total, 0) + one.size;
    INSERT INTO perdure.streams (incarnation, stream, last, first, total, body)
      VALUES (one.incarnation, one.stream, ending, began, bytes, one.body);
    IF ending >= one.max_chunks OR bytes > one.max_bytes THEN
      DELETE FROM perdure.streams AS s WHERE s.incarnation = one.incarnation AND s.stream = one.stream AND s.last < (
        SELECT k.last FROM perdure.streams AS k WHERE k.incarnation = one.incarnation AND k.stream = one.stream
          AND k.last > ending - one.max_chunks AND k.total > bytes - one.max_bytes ORDER BY k.last LIMIT 1);
    END IF;
    RETURN NEXT;
  END LOOP;
END $$;
