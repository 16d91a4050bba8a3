-- The attributes by which instances are found: how far each is, and their keys. Only instances of jobs that declare
-- attributes have rows. A key that begins with '!' says why a value could not be computed. since: the openings up to this
-- epoch that have ended have spoiled nothing that is not filled again.
CREATE TABLE perdure.attributes (
  number int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  kind text COLLATE "C" NOT NULL,
  name text COLLATE "C" NOT NULL,
  attribute text COLLATE "C" NOT NULL,
  fingerprint text NOT NULL,
  progress text NOT NULL CHECK (progress IN ('clearing', 'filling', 'whole')),
  position text COLLATE "C" NOT NULL DEFAULT '',
  generation bigint NOT NULL DEFAULT 1,
  since bigint NOT NULL,
  UNIQUE (kind, name, attribute)
);

CREATE TABLE perdure.attribute_keys (
  number int NOT NULL,
  key text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  incarnation bigint NOT NULL,
  PRIMARY KEY (number, key, id)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02,
  autovacuum_vacuum_insert_scale_factor = 0.02);
CREATE UNIQUE INDEX attribute_keys_instance ON perdure.attribute_keys (incarnation, number);

-- The attributes that an opening computes for each job that it serves, by "kind:name"; NULL until it has declared them.
-- An engine of an earlier version never does.
ALTER TABLE perdure.engines ADD COLUMN attributes jsonb;

-- Whether the commits of an opening may leave other keys of an attribute than its function computes.
CREATE FUNCTION perdure.may_spoil(opening perdure.engines, one perdure.attributes) RETURNS boolean LANGUAGE sql STABLE
RETURN CASE
  WHEN opening.attributes IS NULL THEN opening.served = '[]' OR EXISTS
    (SELECT FROM json_array_elements(opening.served::json) AS job
     WHERE job ->> 0 = one.kind AND job ->> 1 = one.name)
  ELSE opening.attributes ? (one.kind || ':' || one.name)
    AND opening.attributes -> (one.kind || ':' || one.name) ->> one.attribute IS DISTINCT FROM one.fingerprint
  END;

-- Whether openings may have spoiled an attribute since it was begun. With beginning, also those that have not said
-- anything yet, which may be about to declare. The rows of openings that ended long ago are deleted: a gap is in doubt.
CREATE FUNCTION perdure.is_doubtful(one perdure.attributes, beginning boolean) RETURNS boolean LANGUAGE sql STABLE
RETURN EXISTS (
    SELECT FROM perdure.engines AS e WHERE (e.state = 'open' OR e.epoch > one.since) AND perdure.may_spoil(e, one)
      AND (beginning OR e.state <> 'open' OR e.attributes IS NOT NULL OR e.served <> '[]')
  ) OR coalesce((SELECT min(e.epoch) > one.since + 1 FROM perdure.engines AS e WHERE e.epoch > one.since), false);

CREATE FUNCTION perdure.known_attributes() RETURNS TABLE (kind text, name text, attribute text, fingerprint text,
  progress text, "position" text, generation bigint, failures boolean, doubt boolean) LANGUAGE sql STABLE AS $$
  SELECT a.kind, a.name, a.attribute, a.fingerprint, a.progress, a.position, a.generation,
    EXISTS (SELECT FROM perdure.attribute_keys AS k WHERE k.number = a.number AND k.key >= '!' AND k.key < 'v'),
    perdure.is_doubtful(a, true)
  FROM perdure.attributes AS a ORDER BY a.kind, a.name, a.attribute
$$;

CREATE FUNCTION perdure.declare_attributes(my_epoch bigint, how_durable text, declared jsonb) RETURNS void LANGUAGE plpgsql SET jit = off AS $$
BEGIN
  PERFORM perdure.enter(my_epoch, how_durable);
  -- One engine at a time: two would begin the same attribute.
  LOCK TABLE perdure.attributes IN EXCLUSIVE MODE;
  UPDATE perdure.engines SET attributes = declared WHERE epoch = my_epoch AND attributes IS DISTINCT FROM declared;
  INSERT INTO perdure.attributes (kind, name, attribute, fingerprint, progress, since)
    SELECT split_part(job.key, ':', 1), split_part(job.key, ':', 2), one.key, one.value, 'clearing',
      (SELECT max(epoch) FROM perdure.engines)
    FROM jsonb_each(declared) AS job, jsonb_each_text(job.value) AS one
    ON CONFLICT DO NOTHING;
  -- Another fingerprint: the present code decides, unless other code is open as well. Two would begin it again in turns.
  UPDATE perdure.attributes AS a SET fingerprint = mine.fingerprint, progress = 'clearing', position = '',
      generation = a.generation + 1, since = (SELECT max(epoch) FROM perdure.engines)
    FROM (SELECT job.key AS job, one.key AS attribute, one.value AS fingerprint
      FROM jsonb_each(declared) AS job, jsonb_each_text(job.value) AS one) AS mine
    WHERE mine.job = a.kind || ':' || a.name AND mine.attribute = a.attribute AND mine.fingerprint <> a.fingerprint
      AND NOT EXISTS (SELECT FROM perdure.engines AS e WHERE e.state = 'open' AND e.epoch <> my_epoch
        AND e.attributes ? mine.job AND e.attributes -> mine.job ->> mine.attribute IS DISTINCT FROM mine.fingerprint);
  -- Spoiled: begin again, and only once while the other code is open.
  UPDATE perdure.attributes AS a SET progress = 'clearing', position = '', generation = a.generation + 1,
      since = (SELECT max(epoch) FROM perdure.engines)
    WHERE declared -> (a.kind || ':' || a.name) ->> a.attribute = a.fingerprint AND perdure.is_doubtful(a, false)
      AND (a.progress <> 'clearing' OR a.since < (SELECT max(epoch) FROM perdure.engines WHERE state <> 'open'));
  UPDATE perdure.attributes AS a SET since = greatest(a.since,
      (SELECT coalesce(min(epoch) FILTER (WHERE state = 'open'), max(epoch) + 1) - 1 FROM perdure.engines WHERE epoch > 0))
    WHERE declared -> (a.kind || ':' || a.name) ->> a.attribute = a.fingerprint AND NOT perdure.is_doubtful(a, true);
  -- Of no open code any more: begin its removal.
  UPDATE perdure.attributes AS a SET progress = 'clearing', position = '', generation = a.generation + 1
    WHERE declared ? (a.kind || ':' || a.name) AND NOT declared -> (a.kind || ':' || a.name) ? a.attribute
      AND a.progress <> 'clearing' AND NOT EXISTS (SELECT FROM perdure.engines AS e WHERE e.state = 'open'
        AND e.attributes -> (a.kind || ':' || a.name) ? a.attribute);
END $$;

CREATE FUNCTION perdure.clear_attribute(
  my_epoch bigint, how_durable text, job_kind text, job_name text, which text, at_most int
) RETURNS int LANGUAGE plpgsql SET jit = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  one perdure.attributes;
  declares boolean;
  gone int;
BEGIN
  PERFORM perdure.enter(my_epoch, how_durable);
  SELECT * INTO one FROM perdure.attributes AS a
    WHERE a.kind = job_kind AND a.name = job_name AND a.attribute = which AND a.progress = 'clearing' FOR UPDATE;
  IF NOT FOUND THEN RETURN 0; END IF;
  declares := coalesce((SELECT e.attributes -> (job_kind || ':' || job_name) ->> which = one.fingerprint
    FROM perdure.engines AS e WHERE e.epoch = my_epoch), false);
  IF declares AND perdure.is_doubtful(one, true) THEN RETURN 0; END IF;
  IF NOT declares AND EXISTS (SELECT FROM perdure.engines AS e WHERE e.state = 'open'
      AND e.attributes -> (job_kind || ':' || job_name) ? which) THEN RETURN 0; END IF;
  -- Those that a commit is writing at the moment are right afterwards; to wait for them could be a deadlock.
  DELETE FROM perdure.attribute_keys AS k USING (
    SELECT o.number, o.key, o.id FROM perdure.attribute_keys AS o WHERE o.number = one.number
    LIMIT at_most FOR UPDATE SKIP LOCKED) AS old
    WHERE k.number = old.number AND k.key = old.key AND k.id = old.id;
  GET DIAGNOSTICS gone = ROW_COUNT;
  IF gone < at_most AND declares THEN
    UPDATE perdure.attributes AS a SET progress = 'filling', position = '' WHERE a.number = one.number;
  ELSIF gone < at_most THEN
    DELETE FROM perdure.attributes AS a WHERE a.number = one.number;
  END IF;
  RETURN gone;
END $$;

-- Write attributes of transitions that were committed in the statement, and delete those of purged instances.
CREATE FUNCTION perdure.write_attributes(
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
    DELETE FROM perdure.attribute_keys AS k
      USING unnest(a_n, a_kind, a_name, a_attribute, a_key) AS a (n, kind, name, attribute, key)
      JOIN unnest(done, incarnations) AS w (n, incarnation) ON w.n = a.n
      JOIN perdure.attributes AS o ON o.kind = a.kind AND o.name = a.name AND o.attribute = a.attribute
      WHERE k.incarnation = w.incarnation AND k.number = o.number AND k.key IS DISTINCT FROM a.key;
    INSERT INTO perdure.attribute_keys AS k (number, key, id, incarnation)
      SELECT o.number, a.key, a.id, w.incarnation
      FROM unnest(a_n, a_kind, a_name, a_id, a_attribute, a_key) AS a (n, kind, name, id, attribute, key)
      JOIN unnest(done, incarnations) AS w (n, incarnation) ON w.n = a.n
      JOIN perdure.attributes AS o ON o.kind = a.kind AND o.name = a.name AND o.attribute = a.attribute
      WHERE a.key IS NOT NULL
      ON CONFLICT (number, key, id) DO UPDATE SET incarnation = excluded.incarnation
        WHERE k.incarnation <> excluded.incarnation;
  END IF;
END $$;

-- Write the attributes of a page of instances that still have these versions, and return the ids of the others.
CREATE FUNCTION perdure.fill_attributes(
  my_epoch bigint, how_durable text, job_kind text, job_name text, f_attribute text[], f_generation bigint[],
  r_id text[], r_incarnation bigint[], r_version bigint[], a_n int[], a_attribute text[], a_key text[], is_last boolean
) RETURNS SETOF text LANGUAGE plpgsql SET jit = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  numbers int[];
  fits int[];
  count_rows int := cardinality(r_id);
BEGIN
  PERFORM perdure.enter(my_epoch, how_durable);
  -- Locked, like the instances below before their keys: a commit writes both in this order as well.
  SELECT coalesce(array_agg(o.number), '{}') INTO numbers FROM (
    SELECT a.number FROM perdure.attributes AS a JOIN unnest(f_attribute, f_generation) AS f (attribute, generation)
      ON a.attribute = f.attribute AND a.generation = f.generation
    WHERE a.kind = job_kind AND a.name = job_name AND a.progress = 'filling' AND NOT perdure.is_doubtful(a, true)
    FOR UPDATE OF a) AS o;
  IF cardinality(numbers) < cardinality(f_attribute) THEN RETURN; END IF;
  SELECT coalesce(array_agg(locked.n::int), '{}') INTO fits FROM (
    SELECT r.n FROM perdure.instances AS i
    JOIN unnest(r_incarnation, r_version) WITH ORDINALITY AS r (incarnation, version, n)
      ON i.incarnation = r.incarnation AND i.version = r.version
    ORDER BY i.incarnation FOR NO KEY UPDATE OF i) AS locked;
  PERFORM perdure.write_attributes(fits, ARRAY(SELECT r_incarnation[f] FROM unnest(fits) WITH ORDINALITY AS u (f, at) ORDER BY at),
    a_n, array_fill(job_kind, ARRAY[cardinality(a_n)]), array_fill(job_name, ARRAY[cardinality(a_n)]),
    ARRAY(SELECT r_id[a] FROM unnest(a_n) WITH ORDINALITY AS u (a, at) ORDER BY at), a_attribute, a_key, '{}', '{}');
  IF cardinality(fits) = count_rows THEN
    UPDATE perdure.attributes AS a SET progress = CASE WHEN is_last THEN 'whole' ELSE 'filling' END,
      position = CASE WHEN count_rows > 0 THEN r_id[count_rows] ELSE '' END
      WHERE a.number = ANY(numbers);
  END IF;
  RETURN QUERY SELECT r_id[n] FROM generate_series(1, count_rows) AS n WHERE n <> ALL(fits);
END $$;
