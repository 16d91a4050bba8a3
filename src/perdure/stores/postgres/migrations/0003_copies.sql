-- One row while the tables are the target of an unfinished copy: no engine can open them.
CREATE TABLE perdure.copying (source text NOT NULL, moment text NOT NULL, position text);

-- One row: the counts of instances, which the engines have in common where counting takes long.
CREATE TABLE perdure.counted (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  counted_at timestamptz NOT NULL,
  took_ms bigint NOT NULL,
  body text NOT NULL
);

CREATE FUNCTION perdure.check_complete() RETURNS void LANGUAGE plpgsql SET jit = off AS $$
BEGIN
  IF EXISTS (SELECT FROM perdure.copying) THEN
    RAISE EXCEPTION 'the tables are an unfinished copy of %', (SELECT source FROM perdure.copying) USING ERRCODE = 'PD002';
  END IF;
END $$;

CREATE OR REPLACE FUNCTION perdure.own(my_label text) RETURNS TABLE (epoch bigint, ended bigint, sharing bigint) LANGUAGE plpgsql SET jit = off AS $$
#variable_conflict use_column
DECLARE
  count_ended bigint;
  count_sharing bigint;
BEGIN
  PERFORM pg_advisory_xact_lock(1885692516, 'perdure.instances'::regclass::oid::int);
  PERFORM perdure.check_complete();
  SELECT count(*) INTO count_sharing FROM perdure.engines WHERE state = 'open' AND lease_until > clock_timestamp();
  IF count_sharing > 0 THEN RETURN QUERY SELECT 0::bigint, 0::bigint, count_sharing; RETURN; END IF;
  UPDATE perdure.engines SET state = 'dead' WHERE state = 'open';
  GET DIAGNOSTICS count_ended = ROW_COUNT;
  PERFORM perdure.check_numbers();
  RETURN QUERY INSERT INTO perdure.engines (epoch, state, label) VALUES (nextval('perdure.epochs'), 'open', my_label)
    RETURNING epoch, count_ended, 0::bigint;
END $$;

CREATE OR REPLACE FUNCTION perdure.join_members(lease_ms bigint, my_label text) RETURNS bigint LANGUAGE plpgsql SET jit = off AS $$
DECLARE
  given bigint;
BEGIN
  PERFORM pg_advisory_xact_lock(1885692516, 'perdure.instances'::regclass::oid::int);
  IF EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND classid = 1885692517 AND granted
      AND objid = 'perdure.instances'::regclass::oid) THEN
    RETURN 0;
  END IF;
  PERFORM perdure.check_complete();
  UPDATE perdure.engines SET state = 'dead' WHERE state = 'open' AND lease_until IS NULL;
  PERFORM perdure.check_numbers();
  INSERT INTO perdure.engines (epoch, state, lease_until, label)
    VALUES (nextval('perdure.epochs'), 'open', clock_timestamp() + lease_ms * interval '1 ms', my_label)
    RETURNING epoch INTO given;
  RETURN given;
END $$;
