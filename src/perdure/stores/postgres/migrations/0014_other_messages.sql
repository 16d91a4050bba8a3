-- The heads to other jobs than these, so that one job's messages do not hide those of the others. An engine of older code
-- calls the functions without the last two arguments.
CREATE FUNCTION perdure.heads(after_id bigint, now_ms bigint, at_most int, except_kinds text[], except_names text[])
RETURNS SETOF perdure.messages LANGUAGE plpgsql STABLE SET enable_seqscan = off SET jit = off AS $$
BEGIN
  RETURN QUERY SELECT * FROM perdure.messages AS m
    WHERE m.place = 'head' AND m.message_id > after_id AND m.not_before_ms <= now_ms
      AND (cardinality(except_kinds) = 0 OR (split_part(m.target, ':', 1), split_part(m.target, ':', 2)) NOT IN
        (SELECT * FROM unnest(except_kinds, except_names)))
    ORDER BY m.message_id LIMIT at_most;
END $$;

CREATE FUNCTION perdure.heads_in_share(after_id bigint, now_ms bigint, at_most int, my_epoch bigint, living bigint[],
  known_to bigint, old_ms bigint, kinds text[], names text[], buckets bigint[], except_kinds text[], except_names text[])
RETURNS SETOF perdure.messages LANGUAGE plpgsql STABLE SET enable_seqscan = off SET jit = off AS $$
BEGIN
  RETURN QUERY SELECT * FROM perdure.messages AS m
    WHERE m.place = 'head' AND m.message_id > after_id AND m.not_before_ms <= now_ms AND (m.origin = my_epoch OR
      ((m.sent_ms < old_ms OR (m.origin <> ALL(living) AND m.origin <= known_to))
        AND EXISTS (SELECT FROM unnest(kinds, names, buckets) AS s (kind, name, bits)
          WHERE s.kind = split_part(m.target, ':', 1) AND s.name = split_part(m.target, ':', 2)
            AND (s.bits >> m.bucket) & 1 = 1)))
      AND (cardinality(except_kinds) = 0 OR (split_part(m.target, ':', 1), split_part(m.target, ':', 2)) NOT IN
        (SELECT * FROM unnest(except_kinds, except_names)))
    ORDER BY m.message_id LIMIT at_most;
END $$;
