-- The keys that an instance has are found by the instance. A session plans the statement once, often while the table is
-- empty: by the attribute's number, it then reads all keys of the attribute for each row, and a page took minutes.
CREATE OR REPLACE FUNCTION perdure.write_attributes(
  done int[], incarnations bigint[],
  a_n int[], a_kind text[], a_name text[], a_id text[], a_attribute text[], a_key text[],
  g_n int[], g_incarnation bigint[]
) RETURNS void LANGUAGE plpgsql SET jit = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off
SET plan_cache_mode = force_generic_plan AS $$
BEGIN
  IF cardinality(g_n) > 0 THEN
    DELETE FROM perdure.attribute_keys AS k USING unnest(g_n, g_incarnation) AS g (n, incarnation)
      WHERE g.n = ANY(done) AND k.incarnation = g.incarnation;
  END IF;
  IF cardinality(a_n) > 0 THEN
    -- number + 0: only the index that begins with the incarnation fits. The position in an array is no join of two.
    DELETE FROM perdure.attribute_keys AS k
      USING unnest(a_n, a_kind, a_name, a_attribute, a_key) AS a (n, kind, name, attribute, key)
      JOIN perdure.attributes AS o ON o.kind = a.kind AND o.name = a.name AND o.attribute = a.attribute
      WHERE k.incarnation = incarnations[array_position(done, a.n)] AND k.number + 0 = o.number
        AND k.key IS DISTINCT FROM a.key;
    INSERT INTO perdure.attribute_keys AS k (number, key, id, incarnation)
      SELECT o.number, a.key, a.id, incarnations[array_position(done, a.n)]
      FROM unnest(a_n, a_kind, a_name, a_id, a_attribute, a_key) AS a (n, kind, name, id, attribute, key)
      JOIN perdure.attributes AS o ON o.kind = a.kind AND o.name = a.name AND o.attribute = a.attribute
      WHERE a.key IS NOT NULL AND a.n = ANY(done)
      ON CONFLICT (number, key, id) DO UPDATE SET incarnation = excluded.incarnation
        WHERE k.incarnation <> excluded.incarnation;
  END IF;
END $$;
